/** What to ask for, so that a dry run can be done for real with the very same options. */

/** @typedef {import("./types.js").Task} Task */
/** @typedef {Record<string, string|number|boolean>} Order */

/** @param {Task} task @returns {Order} */
export function orderOf(task) {
  const wanted = { source_path: task.source_path, description: task.description, ...task.options };
  return Object.fromEntries(Object.entries(wanted).filter(([, value]) => value !== null));
}
