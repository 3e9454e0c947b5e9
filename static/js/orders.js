/** With which options this tab started a task, so that a dry run can be done for real with the very same ones. */

import { remember, remembered } from "./stored.js";

/** @typedef {Record<string, string|number|boolean>} Order */

/** @param {string} taskId @param {Order} order */
export const rememberOrder = (taskId, order) => remember(`order.${taskId}`, JSON.stringify(order));

/** @param {string} taskId @returns {Order|null} */
export function orderOf(taskId) {
  const kept = remembered(`order.${taskId}`);
  return kept ? JSON.parse(kept) : null;
}
