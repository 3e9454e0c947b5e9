/** The service key: asked for when the service wants one, kept for this tab only. */

import { openDialog } from "./dialogs.js";
import { h, uniqueId } from "./dom.js";
import { t } from "./i18n.js";
import { remember, remembered } from "./stored.js";

/** @type {Promise<boolean>|null} */
let asking = null;

export const knownKey = () => remembered("key");

export const forgetKey = () => remember("key", null);

/** @param {Record<string, string>} headers @returns {Record<string, string>} */
export function headersWithKey(headers) {
  const key = knownKey();
  return key ? { ...headers, "X-API-Key": key } : headers;
}

/**
 * One question for all requests that were refused.
 * @param {string|null} refused the key that was refused; if another one was given since, no question is shown
 * @returns {Promise<boolean>} false if the user gives none
 */
export async function askForKey(refused) {
  if (!asking && knownKey() !== refused) return true;
  asking ??= ask(refused !== null).finally(() => {
    asking = null;
  });
  return asking;
}

/** @param {boolean} wasWrong */
async function ask(wasWrong) {
  const id = uniqueId("key");
  const field = h("input", {
    id,
    class: "field",
    type: "password",
    autocomplete: "off",
    required: true,
    "aria-describedby": `${id}-note`,
  });
  const note = h("p", { id: `${id}-note`, class: "field-error", role: "alert", text: wasWrong ? t("key.wrong") : "" });
  const given = await openDialog({
    title: t("key.title"),
    body: [
      h("p", { class: "quiet", text: t("key.text") }),
      h("label", { class: "label", for: id, text: t("key.label") }),
      field,
      note,
    ],
    confirm: t("key.send"),
    check: () => complaint(field, note),
  });
  if (given) remember("key", field.value);
  return given;
}

/** Only what a header can carry. @param {HTMLInputElement} field @param {HTMLElement} note */
function complaint(field, note) {
  const fine = /^[\x21-\x7e]+$/.test(field.value);
  if (!fine) note.textContent = t("key.odd");
  return fine;
}
