/** Which files of a task are shown: by outcome, reason and month; the address holds the choice. */

import { getJson, taskPath } from "../api.js";
import { h } from "../dom.js";
import { t, tOr } from "../i18n.js";
import { replaceAddress, taskLink } from "../router.js";
import { choice, codeTitle, labelled } from "./pieces.js";

/** @typedef {import("../types.js").Task} Task */
/** @typedef {{outcome: string|null, code: string|null, month: string|null}} Filter */

const NAMES = /** @type {const} */ (["outcome", "code", "month"]);

/**
 * @param {Task} task @param {string} section @param {URLSearchParams} query
 * @param {(filter: Filter) => void} onChange
 */
export function fileFilter(task, section, query, onChange) {
  /** @type {Filter} */
  const filter = { outcome: query.get("outcome"), code: query.get("code"), month: query.get("month") };
  const node = h("form", { class: "filter", role: "search", "aria-label": t("files.filter") });
  node.addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
  const changed = (/** @type {typeof NAMES[number]} */ name, /** @type {string} */ value) => {
    filter[name] = value || null;
    replaceAddress(taskLink(task.task_id, section, filter));
    onChange({ ...filter });
  };
  const draw = (/** @type {any} */ stats) =>
    node.replaceChildren(
      ...NAMES.map((name) => filterField(name, choicesOf(name, stats), filter[name], (value) => changed(name, value))),
    );
  draw({ by_code: [], by_month: [] });
  return {
    node,
    filter,
    load: async (/** @type {AbortSignal} */ signal) =>
      draw(await getJson(taskPath(task.task_id, "/stats"), { signal })),
  };
}

/**
 * @param {typeof NAMES[number]} name
 * @param {[string, string][]} found
 * @param {string|null} chosen
 * @param {(value: string) => void} onChange
 */
function filterField(name, found, chosen, onChange) {
  const known =
    chosen && !found.some(([value]) => value === chosen)
      ? [...found, /** @type {[string, string]} */ ([chosen, wordOf(name, chosen)])]
      : found;
  const select = choice([["", t("common.all")], ...known], chosen ?? "");
  select.addEventListener("change", () => onChange(select.value));
  return labelled(t(`files.${name}`), select);
}

/** @param {string} name @param {string} value */
function wordOf(name, value) {
  if (name === "code") return codeTitle(value);
  return name === "outcome" ? tOr(`files.s_${value}`, value) : value;
}

/** Only what the task really has. @param {string} name @param {any} stats @returns {[string, string][]} */
function choicesOf(name, stats) {
  const values =
    name === "month"
      ? stats.by_month.map((/** @type {any} */ row) => row.month).filter(Boolean)
      : stats.by_code.map((/** @type {any} */ row) => row[name]);
  return [...new Set(/** @type {string[]} */ (values))].map((value) => [value, wordOf(name, value)]);
}
