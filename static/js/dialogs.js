/** Modal questions on the browser's own <dialog>: focus stays inside and goes back, Esc means no. */

import { h, icon, uniqueId } from "./dom.js";
import { t } from "./i18n.js";

/**
 * @typedef {object} Question
 * @property {string} title
 * @property {(Node|string)[]} body
 * @property {string} confirm
 * @property {string} [refuse]
 * @property {boolean} [danger]
 * @property {() => boolean} [check] whether what was filled in may be sent
 */

/** @param {Question} question @returns {Promise<boolean>} */
export function openDialog(question) {
  const id = uniqueId("dialog");
  const dialog = h("dialog", { class: "dialog", "aria-labelledby": id });
  const confirm = h("button", {
    type: "submit",
    class: question.danger ? "button button-danger" : "button button-primary",
    text: question.confirm,
  });
  const refuse = h("button", {
    type: "button",
    class: "button",
    text: question.refuse ?? t("common.cancel"),
    onclick: () => dialog.close(),
  });
  const form = h(
    "form",
    { class: "dialog-form", novalidate: true },
    h("h2", { id, class: "dialog-title", text: question.title }),
    h("div", { class: "dialog-body" }, ...question.body),
    h("div", { class: "dialog-actions" }, refuse, confirm),
  );
  dialog.append(form);
  return answerOf(dialog, form, question.check ?? (() => true));
}

/**
 * @param {HTMLDialogElement} dialog
 * @param {HTMLFormElement} form
 * @param {() => boolean} check
 * @returns {Promise<boolean>}
 */
function answerOf(dialog, form, check) {
  return new Promise((resolve) => {
    let agreed = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      agreed = check();
      if (agreed) dialog.close();
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(agreed);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A large dialog that is only looked at. @param {string} title @param {string} className */
export function openPanel(title, className) {
  const id = uniqueId("panel");
  const heading = h("h2", { id, class: "panel-title", text: title });
  const close = h(
    "button",
    { type: "button", class: "tool tool-icon", "aria-label": t("common.close"), onclick: () => dialog.close() },
    icon("close"),
  );
  const tools = h("div", { class: "panel-tools" });
  const body = h("div", { class: "panel-body" });
  const dialog = h(
    "dialog",
    { class: `dialog panel ${className}`, "aria-labelledby": id },
    h("div", { class: "panel-head" }, heading, tools, close),
    body,
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return { dialog, heading, tools, body };
}
