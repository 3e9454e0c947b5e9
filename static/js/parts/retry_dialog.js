/** Retry for one reason or for all. If the reason needs a decision, the dialog offers the choices. */

import { post, taskPath } from "../api.js";
import { openDialog } from "../dialogs.js";
import { h } from "../dom.js";
import { number } from "../format.js";
import { t } from "../i18n.js";
import { attempt, toast } from "../notify.js";
import { goTo, taskLink } from "../router.js";
import { choice, codeTitle, labelled } from "./pieces.js";
import { retriable } from "./task_rules.js";

/** @typedef {import("../types.js").Task} Task */

const AS_BEFORE = "as_before";

/**
 * Which option releases which reason, and its values beside "as before".
 * @type {Record<string, {option: string, values: string[]}>}
 */
const JUDGEMENTS = {
  patient_mismatch: { option: "on_patient_mismatch", values: ["trust_dicom", "trust_folder"] },
  patient_id_invalid: { option: "on_patient_mismatch", values: ["trust_folder"] },
  demographics_mismatch: { option: "on_demographics_mismatch", values: ["warn"] },
};

/**
 * @param {Task} task
 * @param {{code: string, files: number}|null} group null for all failed files
 */
export async function retryDialog(task, group) {
  const judgement = group ? JUDGEMENTS[group.code] : undefined;
  const select =
    judgement &&
    choice([
      ["", t("retry.choose")],
      [AS_BEFORE, t("retry.same")],
      ...judgement.values.map((value) => /** @type {[string, string]} */ ([value, t(`form.${value}`)])),
    ]);
  const problem = h("p", { class: "field-error", role: "alert" });
  const words = group
    ? t("retry.text", { n: number(group.files) })
    : t("retry.all_text", { n: number(retriable(task)) });
  const agreed = await openDialog({
    title: group ? t("retry.title", { reason: codeTitle(group.code) }) : t("retry.all_title"),
    body: [h("p", { text: words }), ...(select ? [labelled(t("retry.how"), select), problem] : [])],
    confirm: t("retry.start"),
    check: () => isChosen(select, problem),
  });
  if (!agreed) return;
  const chosen = judgement && select.value !== AS_BEFORE ? { [judgement.option]: select.value } : {};
  await attempt(null, () => startRetry(task, { ...(group ? { code: group.code } : {}), ...chosen }));
}

/** A judgement is never made by not looking. @param {HTMLSelectElement|undefined} select @param {HTMLElement} problem */
function isChosen(select, problem) {
  if (!select || select.value) return true;
  problem.textContent = t("retry.need_choice");
  select.focus();
  return false;
}

/** @param {Task} task @param {Record<string, string>} order */
async function startRetry(task, order) {
  const started = await post(taskPath(task.task_id, "/retry"), order);
  toast(t("action.retried"));
  goTo(taskLink(started.task_id));
}
