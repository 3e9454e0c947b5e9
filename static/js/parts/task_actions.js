/** The buttons that steer a task; those that do not fit its state are not there. */

import { post, taskPath } from "../api.js";
import { openDialog } from "../dialogs.js";
import { h, icon, setText } from "../dom.js";
import { t } from "../i18n.js";
import { hasEnded } from "../live.js";
import { attempt, toast } from "../notify.js";
import { retryDialog } from "./retry_dialog.js";
import { retriable } from "./task_rules.js";

/** @typedef {import("../types.js").Task} Task */

/**
 * One button pauses and resumes, so that focus stays on it.
 * @param {(task: Task) => void} onChanged called with the task as it was when the button was pressed
 * @returns {import("../types.js").Part}
 */
export function taskActions(onChanged) {
  /** @type {Task} */
  let task;
  const toggleWord = h("span", {});
  const toggle = h(
    "button",
    { type: "button", class: "button", onclick: () => attempt(toggle, () => pauseOrResume(task, onChanged)) },
    icon("pause"),
    toggleWord,
  );
  const cancel = h("button", {
    type: "button",
    class: "button button-quiet-danger",
    text: t("action.cancel"),
    onclick: () => attempt(cancel, () => cancelTask(task, onChanged)),
  });
  const retry = h(
    "button",
    { type: "button", class: "button", onclick: () => retryDialog(task, null) },
    icon("retry"),
    h("span", { text: t("action.retry") }),
  );
  return {
    node: h("div", { class: "actions" }, toggle, cancel, retry),
    update: (/** @type {Task} */ now) => {
      task = now;
      toggle.hidden = hasEnded(now);
      toggle.dataset.does = resumes(now) ? "resume" : "pause";
      toggle.querySelector("use")?.setAttribute("href", `static/icons.svg#${resumes(now) ? "play" : "pause"}`);
      setText(toggleWord, t(resumes(now) ? "action.resume" : "action.pause"));
      cancel.hidden = hasEnded(now);
      retry.hidden = !mayRetry(now);
    },
  };
}

/** @param {Task} task */
const resumes = (task) => task.status === "paused" || task.status === "interrupted";

/** @param {Task} task */
export const mayRetry = (task) => hasEnded(task) && !task.dry_run && retriable(task) > 0;

/** @param {Task} task @param {(task: Task) => void} onChanged */
async function pauseOrResume(task, onChanged) {
  const operation = resumes(task) ? "resume" : "pause";
  await post(taskPath(task.task_id, `/${operation}`));
  toast(t(operation === "pause" ? "action.paused" : "action.resumed"));
  onChanged(task);
}

/** @param {Task} task @param {(task: Task) => void} onChanged */
async function cancelTask(task, onChanged) {
  const sure = await openDialog({
    title: t("action.cancel_title"),
    body: [h("p", { text: t("action.cancel_text") })],
    confirm: t("action.cancel_yes"),
    refuse: t("action.cancel_no"),
    danger: true,
  });
  if (!sure) return;
  await post(taskPath(task.task_id, "/cancel"));
  toast(t("action.cancelled"));
  onChanged(task);
}
