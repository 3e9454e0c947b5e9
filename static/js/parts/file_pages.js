/** A task's files, page after page, with a filter above: the frame of the file list and of the contact sheet. */

import { getJson, query, taskPath } from "../api.js";
import { h, setText } from "../dom.js";
import { number } from "../format.js";
import { t } from "../i18n.js";
import { fill } from "../notify.js";
import { fileFilter } from "./file_filter.js";

/** @typedef {import("../types.js").Task} Task */
/** @typedef {import("../types.js").ReportRow} ReportRow */
/** @typedef {{node: HTMLElement, add: (rows: ReportRow[]) => void, clear: () => void}} Shelf */

const PAGE = 60;

/**
 * @param {Task} task @param {string} section @param {URLSearchParams} search
 * @param {Shelf} shelf where rows are put
 */
export function filePages(task, section, search, shelf) {
  let stop = new AbortController();
  /** @type {number|null} */
  let after = null;
  let shown = 0;
  const total = h("p", { class: "quiet files-total", role: "status" });
  const more = h("button", { type: "button", class: "button", hidden: true, onclick: () => load() });
  const trouble = h("div", {});
  const filter = fileFilter(task, section, search, (next) => begin(next));
  let wanted = filter.filter;

  const load = () =>
    fill(trouble, async () => {
      const page = await pageOf(task.task_id, { ...wanted, after, limit: PAGE }, stop.signal);
      shelf.add(page.files);
      shown += page.files.length;
      after = page.next_after;
      setText(total, page.total ? t("files.total", { n: number(page.total) }) : t("files.none"));
      more.hidden = after === null;
      setText(more, t("common.more", { n: number(Math.min(PAGE, page.total - shown)) }));
      return [];
    });
  const begin = (/** @type {import("./file_filter.js").Filter} */ next) => {
    stop.abort();
    stop = new AbortController();
    wanted = next;
    after = null;
    shown = 0;
    shelf.clear();
    void load();
  };
  void fill(trouble, async () => {
    await filter.load(stop.signal);
    return [];
  }).then(load);
  return {
    node: h(
      "div",
      { class: "file-pages" },
      h("div", { class: "file-bar" }, filter.node, total),
      shelf.node,
      trouble,
      h("div", { class: "more" }, more),
    ),
    stop: () => stop.abort(),
  };
}

/**
 * @param {string} taskId
 * @param {Record<string, string|number|null>} wanted
 * @param {AbortSignal} signal
 * @returns {Promise<import("../types.js").FilePage>}
 */
const pageOf = (taskId, wanted, signal) => getJson(taskPath(taskId, `/files${query(wanted)}`), { signal });
