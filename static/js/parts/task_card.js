/** One running task on the overview. */

import { h, setText } from "../dom.js";
import { number } from "../format.js";
import { t } from "../i18n.js";
import { taskLink } from "../router.js";
import { pathNode, stateBadges } from "./pieces.js";
import { taskActions } from "./task_actions.js";
import { taskProgress } from "./task_progress.js";

/** @typedef {import("../types.js").Task} Task */

/** @param {Task} task @returns {import("../types.js").Part} */
export function taskCard(task) {
  const badges = h("span", {});
  const progress = taskProgress(task);
  const actions = taskActions(() => undefined);
  const counts = h("p", { class: "card-counts" });
  const node = h(
    "article",
    { class: "card task-card", "data-task": task.task_id },
    h(
      "div",
      { class: "task-card-head" },
      h(
        "div",
        { class: "task-card-name" },
        h("h3", {}, h("a", { class: "row-link", href: taskLink(task.task_id) }, pathNode(task.source_path))),
        task.description && h("p", { class: "row-note", text: task.description }),
      ),
      badges,
    ),
    progress.node,
    h("div", { class: "task-card-foot" }, counts, actions.node),
  );
  let state = "";
  return {
    node,
    update: (/** @type {Task} */ now) => {
      progress.update(now);
      actions.update(now);
      setText(counts, countWords(now));
      if (state !== now.status) badges.replaceChildren(stateBadges(now));
      state = now.status;
    },
  };
}

/** @param {Task} task */
function countWords({ dry_run: dry, progress }) {
  return [
    `${t(dry ? "counts.would_upload" : "counts.uploaded")} ${number(progress.new_images_uploaded)}`,
    `${t("counts.duplicate")} ${number(progress.duplicate_images_skipped)}`,
    `${t("counts.failed")} ${number(progress.failed_files)}`,
  ].join(" · ");
}
