/** Tasks as rows. */

import { h } from "../dom.js";
import { duration, number, shortMoment } from "../format.js";
import { t } from "../i18n.js";
import { taskLink } from "../router.js";
import { dataTable, pathNode, stateBadges } from "./pieces.js";

/** @typedef {import("../types.js").Task} Task */

/** @param {string} label @param {Task[]} tasks */
export function taskTable(label, tasks) {
  const counts = ["scanned", "uploaded", "duplicate", "failed"].map((name) => ({
    title: t(`tasks.${name}`),
    kind: "number",
  }));
  const table = dataTable(label, [
    { title: t("tasks.source"), kind: "lead" },
    { title: t("tasks.state"), kind: "state" },
    ...counts,
    { title: t("tasks.duration"), kind: "number" },
    { title: t("tasks.when"), kind: "when" },
  ]);
  table.body.append(...tasks.map((task) => table.row(taskCells(task))));
  return table.node;
}

/** @param {Task} task */
function taskCells(task) {
  const {
    total_files_scanned: scanned,
    new_images_uploaded: uploaded,
    duplicate_images_skipped: duplicate,
    failed_files: failed,
  } = task.progress;
  return [
    h(
      "div",
      {},
      h("a", { class: "row-link", href: taskLink(task.task_id) }, pathNode(task.source_path)),
      task.description && h("span", { class: "row-note", text: task.description }),
    ),
    stateBadges(task),
    number(scanned),
    number(uploaded),
    number(duplicate),
    h("span", { class: failed ? "is-bad" : "", text: number(failed) }),
    task.duration_seconds === null ? "–" : duration(task.duration_seconds),
    shortMoment(task.created_at),
  ];
}
