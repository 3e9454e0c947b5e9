/** All tasks, newest first, page by page. */

import { listTasks } from "../api.js";
import { h, icon } from "../dom.js";
import { number } from "../format.js";
import { t } from "../i18n.js";
import { fill } from "../notify.js";
import { pageHead } from "../parts/pieces.js";
import { taskTable } from "../parts/task_table.js";
import { linkTo } from "../router.js";

const PAGE = 20;

/** @param {import("../router.js").Route} route @returns {import("../types.js").View} */
export function tasksView(route) {
  const offset = Math.max(0, Number.parseInt(route.query.get("offset") ?? "0", 10) || 0);
  const place = h("div", { class: "card card-flush" });
  const stop = new AbortController();
  void fill(place, async () => {
    const { total, tasks } = await listTasks(PAGE, offset, stop.signal);
    if (!total) return [emptyNote()];
    return [taskTable(t("tasks.title"), tasks), pager(offset, tasks.length, total)];
  });
  return {
    title: t("tasks.title"),
    node: h("div", { class: "page" }, pageHead(t("tasks.title")), place),
    stop: () => stop.abort(),
  };
}

function emptyNote() {
  return h(
    "div",
    { class: "empty" },
    h("p", { text: t("tasks.empty") }),
    h("a", { class: "button button-primary", href: linkTo(["import"]), text: t("tasks.first") }),
  );
}

/** @param {number} offset @param {number} shown @param {number} total */
function pager(offset, shown, total) {
  const words = t("common.range", {
    from: number(shown ? offset + 1 : 0),
    to: number(offset + shown),
    total: number(total),
  });
  return h(
    "nav",
    { class: "pager", "aria-label": t("tasks.title") },
    h("span", { class: "quiet", text: words }),
    pageLink("left", "common.previous", offset > 0, Math.max(0, offset - PAGE)),
    pageLink("right", "common.next", offset + shown < total, offset + PAGE),
  );
}

/** @param {string} picture @param {string} key @param {boolean} exists @param {number} offset */
function pageLink(picture, key, exists, offset) {
  const link = exists ? linkTo(["tasks"], { offset: offset || null }) : undefined;
  return h(
    "a",
    {
      class: "tool tool-icon",
      href: link,
      "aria-label": t(key),
      "aria-disabled": exists ? null : "true",
      role: exists ? null : "link",
    },
    icon(picture),
  );
}
