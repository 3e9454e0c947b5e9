/** What may be done with a task, by its counts. */

/** @typedef {import("../types.js").Task} Task */

/** Files without a picture are not worth a second try. @param {Task} task */
export const retriable = (task) => task.progress.failed_files - task.progress.no_pixel_files;
