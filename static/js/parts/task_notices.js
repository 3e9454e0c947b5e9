/** Warnings about the task as a whole, and the folders that it left out. */

import { h, icon } from "../dom.js";
import { number } from "../format.js";
import { t } from "../i18n.js";
import { pathNode } from "./pieces.js";

/** @typedef {import("../types.js").Task} Task */
/** @typedef {import("../types.js").SkippedFolder} SkippedFolder */

/** @returns {import("../types.js").Part} */
export function taskNotices() {
  const node = h("div", { class: "task-notices" });
  let drawn = "";
  return {
    node,
    update: (/** @type {Task} */ task) => {
      const warnings = (task.warnings ?? []).filter((warning) => warning.code !== task.pause_reason);
      const folders = task.skipped_folders ?? [];
      const total = task.skipped_folders_total ?? folders.length;
      const state = JSON.stringify([warnings, folders, total]);
      if (state === drawn) return;
      drawn = state;
      node.replaceChildren(...warnings.map(warningNode), ...(folders.length ? [skippedNode(folders, total)] : []));
    },
  };
}

/** @param {{code: string, message: string}} warning */
function warningNode(warning) {
  return h(
    "div",
    { class: "notice notice-warning" },
    icon("warning"),
    h(
      "p",
      { class: "notice-text" },
      h("span", { lang: "zh-CN", text: warning.message }),
      " ",
      h("code", { class: "code", text: warning.code }),
    ),
  );
}

/**
 * @param {SkippedFolder[]} folders - the first ones
 * @param {number} total
 */
function skippedNode(folders, total) {
  const more = total - folders.length;
  const rows = folders.map((folder) =>
    h(
      "li",
      {},
      pathNode(folder.path),
      h("p", { class: "quiet", lang: "zh-CN" }, h("strong", { text: folder.reason }), " ", folder.hint),
    ),
  );
  return h(
    "details",
    { class: "notice notice-warning notice-list", open: folders.length <= 3 },
    h("summary", {}, icon("warning"), h("strong", { text: t("task.skipped", { n: number(total) }) })),
    h("ul", {}, ...rows),
    ...(more > 0 ? [h("p", { class: "quiet", text: t("task.skipped_more", { n: number(more) }) })] : []),
  );
}
