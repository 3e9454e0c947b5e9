/** The body of POST /import that repeats a task, so that a dry run can be imported with the same options. */

/** @typedef {import("./types.js").Task} Task */
/** @typedef {Record<string, string|number|boolean>} ImportRequest */

/** @param {Task} task @returns {ImportRequest} */
export function requestOf(task) {
  const request = { source_path: task.source_path, description: task.description, ...task.options };
  return Object.fromEntries(Object.entries(request).filter(([, value]) => value !== null));
}
