/** Every file of a task with its outcome. */

import { h } from "../dom.js";
import { pathWithin, splitPath, syntaxName, windowWords } from "../format.js";
import { t } from "../i18n.js";
import { filePages } from "../parts/file_pages.js";
import { codeTitle, dataTable, outcomeBadge, outcomeWord, pathNode, serviceWords } from "../parts/pieces.js";
import { openViewer } from "../parts/viewer.js";

/** @typedef {import("../types.js").ReportRow} ReportRow */

/**
 * @param {import("../types.js").Task} task
 * @param {import("../router.js").Route} route
 * @returns {import("./task.js").Section}
 */
export function filesSection(task, route) {
  const table = dataTable(t("files.title"), [
    { title: t("files.file"), kind: "lead file" },
    { title: t("files.patient"), kind: "patient" },
    { title: t("files.outcome") },
    { title: t("files.code"), kind: "why" },
    { title: t("files.window"), kind: "number" },
    { title: t("files.syntax"), kind: "syntax" },
  ]);
  /** @type {ReportRow[]} */
  let rows = [];
  const shelf = {
    node: h("div", { class: "card card-flush" }, table.node),
    add: (/** @type {ReportRow[]} */ more) => {
      rows.push(...more);
      table.body.append(
        ...more.map((row) => table.row(cells(task, row, () => openViewer(task.task_id, rows, rows.indexOf(row))))),
      );
    },
    clear: () => {
      rows = [];
      table.body.replaceChildren();
    },
  };
  const pages = filePages(task, "files", route.query, shelf);
  return { node: h("section", { "aria-label": t("task.files") }, pages.node), stop: pages.stop };
}

/** Empty if it would only repeat the outcome beside it. @param {ReportRow} row */
function reason(row) {
  const title = codeTitle(row.code) === outcomeWord(row.outcome) ? "" : codeTitle(row.code);
  const note = row.outcome !== "uploaded" && row.detail;
  if (!title && !note) return "–";
  return h("div", {}, title && h("span", { text: title }), note && serviceWords("span", "row-note", note));
}

/** @param {import("../types.js").Task} task @param {ReportRow} row @param {() => void} open */
function cells(task, row, open) {
  const name = splitPath(row.source_path)[1];
  return [
    h(
      "button",
      {
        type: "button",
        class: "row-button",
        "aria-label": t("files.open", { name }),
        title: row.source_path,
        onclick: open,
      },
      pathNode(pathWithin(row.source_path, task.source_path)),
    ),
    row.patient_id ?? "–",
    outcomeBadge(row),
    reason(row),
    windowWords(row),
    h("span", { title: row.transfer_syntax ?? "", text: syntaxName(row.transfer_syntax) }),
  ];
}
