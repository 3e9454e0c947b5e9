/** Words of the page: Chinese first, English beside it. The service answers in the same language (`lang`). */

import { en } from "./i18n/en.js";
import { zh } from "./i18n/zh.js";
import { keepPreference } from "./stored.js";

/** @typedef {"zh"|"en"} Language */
const DICTIONARIES = { zh, en };

/** @type {Language} */
let current = document.documentElement.lang.startsWith("en") ? "en" : "zh";

/** @returns {Language} */
export const language = () => current;

/** For Intl. */
export const locale = () => (current === "zh" ? "zh-CN" : "en-GB");

/** @param {Language} wanted */
export function setLanguage(wanted) {
  current = wanted;
  keepPreference("language", wanted);
  document.documentElement.lang = wanted === "zh" ? "zh-CN" : "en";
  translateShell();
}

/** The fixed parts of index.html. */
export function translateShell() {
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.getAttribute("data-t") ?? "");
  for (const node of document.querySelectorAll("[data-t-label]")) {
    node.setAttribute("aria-label", t(node.getAttribute("data-t-label") ?? ""));
  }
}

/**
 * @param {string} key dotted path into the dictionaries
 * @param {Record<string, string|number>} [values] for {placeholders}
 */
export function t(key, values = {}) {
  const text = find(key);
  if (text === null) return key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/**
 * The words for a key, or those of `otherwise` if there are none (codes that a newer service may send).
 * @param {string} key
 * @param {string} otherwise
 */
export const tOr = (key, otherwise) => find(key) ?? otherwise;

/** What to do about an outcome code: this page's own English, the service's Chinese. @param {{code: string, hint: string}} row */
export const hintFor = (row) => (current === "zh" ? row.hint : tOr(`hints.${row.code}`, row.hint));

/** @param {string} key @returns {string|null} */
function find(key) {
  /** @type {any} */
  let place = DICTIONARIES[current];
  for (const part of key.split(".")) place = place?.[part];
  return typeof place === "string" ? place : null;
}
