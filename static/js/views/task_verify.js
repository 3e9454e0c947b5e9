/** Verification: every image is compared with XieHe's. */

import { ApiError, download, getJson, isAbort, post, taskPath } from "../api.js";
import { h, icon, setAttribute } from "../dom.js";
import { moment, number } from "../format.js";
import { t } from "../i18n.js";
import { hasEnded } from "../live.js";
import { attempt, errorBox, loadingBox, toast } from "../notify.js";
import { serviceWords } from "../parts/pieces.js";

/** @typedef {import("../types.js").Task} Task */
/** @typedef {import("../types.js").Verification} Verification */

const RESULTS = /** @type {const} */ (["ok", "ok_present", "missing", "differs"]);
const ASK_EVERY_MS = 700;

/** @param {Task} task @returns {import("./task.js").Section} */
export function verifySection(task) {
  const result = h("div", { class: "verify-result" }, loadingBox());
  const stop = new AbortController();
  let timer = /** @type {ReturnType<typeof setTimeout>|undefined} */ (undefined);
  const start = h(
    "button",
    { type: "button", class: "button button-primary", disabled: !hasEnded(task), onclick: () => attempt(start, begin) },
    icon("check"),
    h("span", { text: t("verify.start") }),
  );
  const load = async () => {
    try {
      const verification = await getJson(taskPath(task.task_id, "/verify"), { signal: stop.signal });
      result.replaceChildren(...resultNodes(task, verification));
      if (verification.status === "running") timer = setTimeout(load, ASK_EVERY_MS);
    } catch (error) {
      if (!isAbort(error) && error instanceof ApiError) result.replaceChildren(errorBox(error, load));
    }
  };
  const begin = async () => {
    await post(taskPath(task.task_id, "/verify"));
    toast(t("verify.started"));
    clearTimeout(timer);
    await load();
  };
  void load();
  const wait = h("p", { class: "hint", hidden: hasEnded(task), text: t("verify.wait") });
  return {
    node: h(
      "section",
      { class: "card verify", "aria-label": t("task.verify") },
      h("div", { class: "verify-head" }, h("p", { class: "quiet", text: t("verify.text") }), start),
      wait,
      result,
    ),
    update: (now) => {
      if (hasEnded(now) && wait.hidden === false) start.disabled = false;
      wait.hidden = hasEnded(now);
    },
    stop: () => {
      clearTimeout(timer);
      stop.abort();
    },
  };
}

/** @param {Task} task @param {Verification} verification */
function resultNodes(task, verification) {
  if (verification.status === "none") return [h("p", { class: "quiet", text: t("verify.none") })];
  const bad = verification.missing + verification.differs;
  const figures = h("dl", { class: "plan-figures verify-figures" }, ...RESULTS.map((name) => resultFigure(name, verification[name])));
  const report = h(
    "button",
    {
      type: "button",
      class: "button button-small",
      onclick: () =>
        attempt(report, () =>
          download(taskPath(task.task_id, "/verify/report?format=csv"), `${task.task_id}-verify.csv`),
        ),
    },
    icon("download"),
    h("span", { text: t("verify.report") }),
  );
  return [headline(verification, bad), figures, ...(verification.status === "running" ? [] : [report])];
}

/** @param {typeof RESULTS[number]} name @param {number} count */
function resultFigure(name, count) {
  const isBad = count > 0 && (name === "missing" || name === "differs");
  return h(
    "div",
    { class: `plan-figure${isBad ? " is-bad" : ""}`, "data-result": name },
    h("dt", { text: t(`verify.${name}`) }),
    h("dd", { text: number(count) }),
  );
}

/** @param {Verification} verification @param {number} bad */
function headline(verification, bad) {
  if (verification.status === "running") return running(verification);
  if (verification.status === "failed")
    return h(
      "div",
      { class: "notice notice-danger" },
      icon("warning"),
      h(
        "p",
        { class: "notice-text" },
        h("strong", { text: t("verify.failed") }),
        " ",
        serviceWords("span", "", verification.detail),
      ),
    );
  const words = bad ? t("verify.bad", { n: number(bad) }) : t("verify.good");
  return h(
    "div",
    { class: `notice notice-${bad ? "danger" : "good"}` },
    icon(bad ? "warning" : "check"),
    h(
      "p",
      { class: "notice-text" },
      h("strong", { text: words }),
      " ",
      h("span", { class: "quiet", text: t("verify.at", { time: moment(verification.completed_at) }) }),
    ),
  );
}

/** @param {Verification} verification */
function running(verification) {
  const percent = verification.images_total
    ? Math.floor((100 * verification.images_checked) / verification.images_total)
    : null;
  const fill = h("span", { class: "bar-fill" });
  fill.style.setProperty("--part", String((percent ?? 0) / 100));
  const bar = h(
    "div",
    {
      class: "bar",
      role: "progressbar",
      "aria-label": t("verify.label"),
      "aria-valuemin": 0,
      "aria-valuemax": 100,
      "data-tone": "active",
    },
    fill,
  );
  setAttribute(bar, "aria-valuenow", percent);
  return h(
    "div",
    {},
    h("p", {
      text: t("verify.running", {
        done: number(verification.images_checked),
        total: number(verification.images_total),
      }),
    }),
    bar,
  );
}
