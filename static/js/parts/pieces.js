/** Small pieces that all pages are made of. */

import { h, uniqueId } from "../dom.js";
import { splitPath } from "../format.js";
import { t, tOr } from "../i18n.js";

/** @typedef {import("../types.js").Task} Task */

/** @param {string} title @param {...(Node|string|null)} actions */
export function pageHead(title, ...actions) {
  return h(
    "div",
    { class: "page-head" },
    h("h1", { class: "page-title", tabindex: "-1", text: title }),
    h("div", { class: "page-actions" }, ...actions),
  );
}

/**
 * A part of a page with its heading.
 * @param {string} title
 * @param {(Node|string|null|false)[]} content
 * @param {(Node|null)[]} [tools]
 */
export function section(title, content, tools = []) {
  const id = uniqueId("section");
  const head = h("div", { class: "section-head" }, h("h2", { id, class: "section-title", text: title }), ...tools);
  return h("section", { class: "section", "aria-labelledby": id }, head, ...content);
}

/** Path with its last part standing out. @param {string} path @param {string} [className] */
export function pathNode(path, className = "path") {
  const [folder, name] = splitPath(path);
  return h(
    "span",
    { class: className, title: path },
    folder && h("span", { class: "path-folder" }, ...breakable(folder)),
    h("span", { class: "path-name", text: name }),
  );
}

/** A path may break into the next line after a separator. @param {string} folder @returns {(Node|string)[]} */
const breakable = (folder) => (folder.match(/[^\\/]*[\\/]?/g) ?? []).filter(Boolean).flatMap((part) => [part, h("wbr")]);

/** Which word and colour a task's state has. @param {Task} task @returns {{word: string, tone: string}} */
export function stateOf(task) {
  if (task.status === "completed" && task.result) {
    const tone = { success: "good", partial: "warning", failed: "danger" }[task.result];
    if (task.dry_run) return { word: t("status.completed"), tone };
    return { word: t(task.result === "failed" ? "status.result_failed" : `status.${task.result}`), tone };
  }
  const tones = {
    pending: "quiet",
    running: "active",
    paused: "warning",
    completed: "good",
    failed: "danger",
    cancelled: "quiet",
    interrupted: "warning",
  };
  return { word: tOr(`status.${task.status}`, task.status), tone: tones[task.status] ?? "quiet" };
}

/** @param {string} word @param {string} tone */
export const badge = (word, tone) => h("span", { class: `badge badge-${tone}`, text: word });

/** @param {Task} task */
export function stateBadges(task) {
  const { word, tone } = stateOf(task);
  const kinds = [
    task.dry_run && badge(t("status.dry_run"), "outline"),
    task.parent_id && badge(t("status.retry_of"), "outline"),
  ];
  return h("span", { class: "badges" }, badge(word, tone), ...kinds.map((node) => node || null));
}

const OUTCOME_TONES = { uploaded: "good", would_upload: "active", duplicate: "quiet", failed: "danger" };

/** @param {string} outcome */
export const outcomeWord = (outcome) => tOr(`files.s_${outcome}`, outcome);

/** @param {{outcome: string, held?: boolean}} row */
export function outcomeBadge(row) {
  if (row.held) return badge(t("outcomes.held"), "warning");
  return badge(outcomeWord(row.outcome), Reflect.get(OUTCOME_TONES, row.outcome) ?? "quiet");
}

/** @param {string} code */
export const codeTitle = (code) => tOr(`codes.${code}`, code);

/**
 * Words that the service wrote (Chinese whatever the page's language is).
 * @param {string} tag
 * @param {string} className
 * @param {string|null} text
 */
export const serviceWords = (tag, className, text) => h(tag, { class: className, lang: "zh-CN", text: text ?? "" });

/**
 * A table that becomes a list of cards on a phone and stays a table for screen readers.
 * @param {string} label @param {{title: string, kind?: string}[]} columns
 */
export function dataTable(label, columns) {
  const body = h("tbody", { role: "rowgroup" });
  const heads = columns.map((column) =>
    h("th", { scope: "col", role: "columnheader", class: column.kind, text: column.title }),
  );
  const node = h(
    "div",
    { class: "table-frame" },
    h(
      "table",
      { class: "table", role: "table", "aria-label": label },
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...heads)),
      body,
    ),
  );
  return {
    node,
    body,
    /** @param {(Node|string)[]} cells */
    row: (cells) => h("tr", { role: "row" }, ...cells.map((cell, index) => tableCell(columns[index], cell))),
  };
}

/** @param {{title: string, kind?: string}} column @param {Node|string} content */
const tableCell = (column, content) =>
  h(
    "td",
    { role: "cell", class: `${column.kind ?? ""}${content === "–" ? " is-blank" : ""}`, "data-label": column.title },
    content,
  );

/** @param {string} label @param {Node} field @param {{hint?: string}} [more] */
export function labelled(label, field, { hint } = {}) {
  const id = uniqueId("field");
  if (field instanceof HTMLElement) {
    field.id = id;
    if (hint) field.setAttribute("aria-describedby", `${id}-hint`);
  }
  return h(
    "div",
    { class: "labelled" },
    h("label", { class: "label", for: id, text: label }),
    field,
    hint && h("p", { id: `${id}-hint`, class: "hint", text: hint }),
  );
}

/** @param {string} label @param {HTMLInputElement} box */
export function checkbox(label, box) {
  return h("label", { class: "check" }, box, h("span", { text: label }));
}

/** @param {[string, string][]} choices value and word @param {string} [chosen] */
export function choice(choices, chosen = "") {
  return h(
    "select",
    { class: "field" },
    ...choices.map(([value, word]) => h("option", { value, selected: value === chosen, text: word })),
  );
}

/** @param {[string, Node|string|null|undefined][]} facts; those without a value are left out */
export function factList(facts) {
  const present = facts.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h(
    "dl",
    { class: "facts" },
    ...present.map(([name, value]) => h("div", { class: "fact" }, h("dt", { text: name }), h("dd", {}, value))),
  );
}

/** Whether imports work, and only a background job waits to restart. @param {import("../types.js").Check[]} checks */
export const onlyBackgroundWaits = (checks) => checks.every((check) => check.ok === (check.name !== "background"));
