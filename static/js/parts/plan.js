/** What a dry run found, and the button that does it for real. */

import { post } from "../api.js";
import { h, icon } from "../dom.js";
import { byteSize, duration, number } from "../format.js";
import { t } from "../i18n.js";
import { hasEnded } from "../live.js";
import { attempt, toast } from "../notify.js";
import { requestOf } from "../import_request.js";
import { goTo, taskLink } from "../router.js";
import { serviceWords } from "./pieces.js";

/** @typedef {import("../types.js").Task} Task */

const COUNTS = /** @type {const} */ ([
  "files_to_upload",
  "images_to_upload",
  "patients_to_create",
  "patients_to_reuse",
  "duplicates",
  "held",
  "unreadable",
  "no_pixel",
]);

/** @returns {import("../types.js").Part} */
export function planPanel() {
  const body = h("div", { class: "plan-body" });
  const node = h("section", { class: "plan", "aria-label": t("plan.title"), hidden: true }, body);
  let drawn = "";
  return {
    node,
    update: (/** @type {Task} */ task) => {
      node.hidden = !task.dry_run;
      const state = JSON.stringify([task.plan, task.status]);
      if (node.hidden || state === drawn) return;
      drawn = state;
      body.replaceChildren(...planNodes(task));
    },
  };
}

/** @param {Task} task */
function planNodes(task) {
  const head = h("h2", { class: "section-title", text: t("plan.title") });
  const lead = h("p", { class: "quiet", text: t(hasEnded(task) ? "plan.text" : "plan.waiting") });
  if (!task.plan) return [head, lead];
  const plan = task.plan;
  const figures = COUNTS.map((name) => planFigure(t(`plan.${name}`), number(plan[name]), name));
  const size = planFigure(t("plan.bytes_to_upload"), byteSize(plan.bytes_to_upload), "bytes_to_upload");
  const time = planFigure(
    t("plan.estimated_seconds"),
    plan.estimated_seconds === null ? "–" : duration(plan.estimated_seconds),
    "estimated_seconds",
  );
  const basis =
    plan.estimate_basis &&
    h("p", { class: "hint" }, `${t("plan.basis")}: `, serviceWords("span", "", plan.estimate_basis));
  return [
    head,
    lead,
    h("dl", { class: "plan-figures" }, ...figures, size, time),
    basis,
    ...(task.status === "completed" ? [realImport(task)] : []),
  ].filter(Boolean);
}

/** @param {string} word @param {string} value @param {string} name */
const planFigure = (word, value, name) =>
  h("div", { class: "plan-figure", "data-plan": name }, h("dt", { text: word }), h("dd", { text: value }));

/** @param {Task} task */
function realImport(task) {
  const button = h(
    "button",
    { type: "button", class: "button button-primary", onclick: () => attempt(button, () => importForReal(task)) },
    icon("import"),
    h("span", { text: t("plan.real") }),
  );
  return h(
    "div",
    { class: "plan-act" },
    button,
    h("p", { class: "hint", text: t("plan.real_hint") }),
  );
}

/** @param {Task} task */
async function importForReal(task) {
  const started = await post("/import", requestOf(task));
  toast(t("action.started"));
  goTo(taskLink(started.task_id));
}
