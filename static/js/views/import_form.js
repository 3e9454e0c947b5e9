/** A new import: where from, with which options, and first as a dry run if wanted. */

import { ApiError, post } from "../api.js";
import { h, icon } from "../dom.js";
import { t } from "../i18n.js";
import { attempt, toast } from "../notify.js";
import { folderBrowser } from "../parts/folder_browser.js";
import { checkbox, choice, labelled, pageHead } from "../parts/pieces.js";
import { goTo, taskLink } from "../router.js";

/** @param {import("../router.js").Route} route @returns {import("../types.js").View} */
export function importView(route) {
  const fields = makeFields(route.query);
  const browser = folderBrowser((path) => {
    fields.path.value = path;
  }, fields.path.value || null);
  fields.path.addEventListener("input", () => browser.mark(fields.path.value));
  const problem = h("p", { class: "field-error", role: "alert" });
  const dryRun = h("button", { type: "button", class: "button button-large", text: t("form.dry_run") });
  const start = h(
    "button",
    { type: "submit", class: "button button-primary button-large" },
    icon("import"),
    h("span", { text: t("form.start") }),
  );
  const form = h(
    "form",
    { class: "import-form", novalidate: true },
    h(
      "div",
      { class: "card form-source" },
      labelled(t("form.folder"), fields.path, { hint: t("form.folder_hint") }),
      browser.node,
    ),
    h(
      "div",
      { class: "form-side" },
      h(
        "div",
        { class: "card" },
        labelled(t("form.description"), fields.description, { hint: t("form.description_hint") }),
        optionsOf(fields),
      ),
      h(
        "div",
        { class: "form-send" },
        h("div", { class: "form-buttons" }, dryRun, start),
        problem,
        h("p", { class: "hint", text: t("form.dry_run_hint") }),
      ),
    ),
  );
  const send = (/** @type {HTMLButtonElement} */ button, /** @type {boolean} */ dry) => {
    problem.textContent = complaint(fields);
    if (!problem.textContent)
      void attempt(
        button,
        () => startImport(fields, dry),
        (words, error) => problem.replaceChildren(words, " ", busyLink(error)),
      );
  };
  dryRun.addEventListener("click", () => send(dryRun, true));
  form.addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    send(start, false);
  });
  return { title: t("form.title"), node: h("div", { class: "page" }, pageHead(t("form.title")), form) };
}

/** @param {URLSearchParams} query */
function makeFields(query) {
  const policies = /** @type {[string, string][]} */ (
    ["hold", "trust_dicom", "trust_folder"].map((value) => [value, t(`form.${value}`)])
  );
  const demographics = /** @type {[string, string][]} */ (
    ["hold_if_both", "hold", "warn"].map((value) => [value, t(`form.${value}`)])
  );
  const asSet = /** @type {[string, string]} */ (["", t("form.by_settings")]);
  return {
    path: h("input", {
      class: "field field-path",
      type: "text",
      value: query.get("path") ?? "",
      placeholder: t("form.path_placeholder"),
      spellcheck: "false",
      autocomplete: "off",
    }),
    description: h("input", {
      class: "field",
      type: "text",
      maxlength: 1000,
      value: query.get("description") ?? "",
      autocomplete: "off",
    }),
    center: h("input", { class: "field", type: "number", step: "any", inputmode: "decimal" }),
    width: h("input", { class: "field", type: "number", step: "any", min: 1, inputmode: "decimal" }),
    patient: choice([asSet, ...policies]),
    demographics: choice([asSet, ...demographics]),
    reupload: h("input", { type: "checkbox" }),
    runNow: h("input", { type: "checkbox" }),
  };
}

/** @typedef {ReturnType<typeof makeFields>} Fields */

/** @param {Fields} fields */
function optionsOf(fields) {
  return h(
    "details",
    { class: "more-options" },
    h("summary", { text: t("form.options") }),
    h(
      "fieldset",
      { class: "pair" },
      h("legend", { class: "label", text: t("form.window") }),
      labelled(t("form.center"), fields.center),
      labelled(t("form.width"), fields.width),
      h("p", { class: "hint", text: t("form.window_hint") }),
    ),
    labelled(t("form.patient"), fields.patient),
    labelled(t("form.demographics"), fields.demographics),
    checkbox(t("form.reupload"), fields.reupload),
    checkbox(t("form.run_now"), fields.runNow),
  );
}

/** What keeps this from being sent; empty if nothing does. @param {Fields} fields */
function complaint(fields) {
  if (!fields.path.value.trim()) return t("form.need_path");
  if (Boolean(fields.center.value) !== Boolean(fields.width.value)) return t("form.both");
  return fields.width.value && Number(fields.width.value) < 1 ? t("form.width_least") : "";
}

/** @param {Fields} fields @returns {import("../import_request.js").ImportRequest} */
function orderFrom(fields) {
  /** @type {import("../import_request.js").ImportRequest} */
  const order = { source_path: fields.path.value.trim() };
  if (fields.description.value.trim()) order.description = fields.description.value.trim();
  if (fields.center.value)
    Object.assign(order, { window_center: Number(fields.center.value), window_width: Number(fields.width.value) });
  if (fields.patient.value) order.on_patient_mismatch = fields.patient.value;
  if (fields.demographics.value) order.on_demographics_mismatch = fields.demographics.value;
  if (fields.reupload.checked) order.reupload_removed = true;
  if (fields.runNow.checked) order.run_now = true;
  return order;
}

/** The task that is in the way, or none. @param {unknown} error */
function busyLink(error) {
  const taskId = error instanceof ApiError ? error.taskId : null;
  return taskId ? h("a", { class: "text-link", href: taskLink(taskId), text: t("action.open") }) : "";
}

/** @param {Fields} fields @param {boolean} dry */
async function startImport(fields, dry) {
  const order = orderFrom(fields);
  const started = await post("/import", dry ? { ...order, dry_run: true } : order);
  toast(t("action.started"));
  goTo(taskLink(started.task_id));
}
