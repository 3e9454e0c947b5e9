/** What became of the files, by reason: failures first, each with what to do and a button to try again. */

import { ApiError, getJson, isAbort, taskPath } from "../api.js";
import { h, icon } from "../dom.js";
import { number } from "../format.js";
import { hintFor, language, t } from "../i18n.js";
import { hasEnded } from "../live.js";
import { errorBox, loadingBox } from "../notify.js";
import { badge, codeTitle } from "../parts/pieces.js";
import { retryDialog } from "../parts/retry_dialog.js";
import { taskLink } from "../router.js";

/** @typedef {import("../types.js").Task} Task */
/** @typedef {import("../types.js").CodeCount} CodeCount */

const AT_MOST_EVERY_MS = 1500;
const HELD = new Set([
  "patient_mismatch",
  "demographics_mismatch",
  "patient_id_collision",
  "instance_of_other_patient",
]);
const NO_SECOND_TRY = new Set(["no_pixel_data"]);

/** @param {Task} task @returns {import("./task.js").Section} */
export function outcomesSection(task) {
  const node = h("section", { class: "outcomes", "aria-label": t("task.outcomes") }, loadingBox());
  const stop = new AbortController();
  let latest = task;
  let drawn = "";
  let timer = /** @type {ReturnType<typeof setTimeout>|undefined} */ (undefined);
  const load = async () => {
    timer = undefined;
    try {
      const stats = await getJson(taskPath(task.task_id, "/stats"), { signal: stop.signal });
      const state = JSON.stringify([stats.by_code, hasEnded(latest)]);
      if (state !== drawn) node.replaceChildren(...groups(latest, stats.by_code));
      drawn = state;
    } catch (error) {
      if (!isAbort(error) && error instanceof ApiError) node.replaceChildren(errorBox(error, load));
    }
  };
  let seen = mark(task);
  void load();
  return {
    node,
    update: (now) => {
      latest = now;
      if (mark(now) === seen) return;
      seen = mark(now);
      timer ??= setTimeout(load, hasEnded(now) ? 0 : AT_MOST_EVERY_MS);
    },
    stop: () => {
      clearTimeout(timer);
      stop.abort();
    },
  };
}

/** @param {Task} task */
const mark = (task) => `${task.status} ${task.progress.total_files_scanned}`;

/** @param {Task} task @param {CodeCount[]} rows */
function groups(task, rows) {
  if (!rows.length) return [h("p", { class: "card empty", text: t("outcomes.none") })];
  const bySize = [...rows].sort((a, b) => b.files - a.files);
  const failed = bySize.filter((row) => row.outcome === "failed");
  const rest = bySize.filter((row) => row.outcome !== "failed");
  const none = h("p", { class: "card all-good" }, icon("check"), h("span", { text: t("outcomes.failed_none") }));
  return [
    heading(t("outcomes.failed")),
    ...(failed.length ? failed.map((row) => reasonCard(task, row)) : [none]),
    ...(rest.length ? [heading(t("outcomes.rest")), ...rest.map((row) => reasonCard(task, row))] : []),
  ];
}

/** @param {string} text */
const heading = (text) => h("h2", { class: "section-title group-title", text });

/** @param {Task} task @param {CodeCount} row */
function reasonCard(task, row) {
  const retry =
    mayRetry(task, row) &&
    h(
      "button",
      { type: "button", class: "button button-small", onclick: () => retryDialog(task, row) },
      icon("retry"),
      h("span", { text: t("outcomes.retry") }),
    );
  const files = h(
    "a",
    { class: "button button-small", href: taskLink(task.task_id, "files", { code: row.code }) },
    t("outcomes.show"),
    h("span", { class: "visually-hidden", text: ` ${codeTitle(row.code)}` }),
  );
  return h(
    "article",
    { class: `reason reason-${row.outcome}`, "data-code": row.code },
    h(
      "div",
      { class: "reason-count" },
      h("span", { class: "reason-number", text: number(row.files) }),
      h("span", { class: "visually-hidden", text: t("outcomes.files", { n: number(row.files) }) }),
    ),
    h(
      "div",
      { class: "reason-words" },
      h(
        "h3",
        { class: "reason-title" },
        codeTitle(row.code),
        " ",
        HELD.has(row.code) && badge(t("outcomes.held"), "warning"),
        " ",
        h("code", { class: "code", text: row.code }),
      ),
      h("p", { class: "reason-hint", lang: language() === "zh" ? "zh-CN" : null, text: hintFor(row) }),
    ),
    h("div", { class: "reason-actions" }, retry || null, files),
  );
}

/** @param {Task} task @param {CodeCount} row */
const mayRetry = (task, row) =>
  row.outcome === "failed" && hasEnded(task) && !task.dry_run && !NO_SECOND_TRY.has(row.code);
