/** Messages beside the page: short ones that vanish, and words for screen readers. */

import { ApiError, isAbort } from "./api.js";
import { byId, h, setText } from "./dom.js";
import { t } from "./i18n.js";

const SHOWN_MS = 6000;

/** @param {string} text @param {"good"|"bad"} [kind] */
export function toast(text, kind = "good") {
  const node = h("p", { class: `toast toast-${kind}`, text });
  byId("toasts").append(node);
  setTimeout(() => node.remove(), SHOWN_MS);
}

/** For screen readers only. @param {string} text */
export const announce = (text) => setText(byId("announcer"), text);

/** @param {unknown} error */
function wordsOf(error) {
  if (!(error instanceof ApiError)) throw error;
  if (error.status === 0) return t("error.network");
  if (error.status === 401) return t("error.key");
  if (error.isMissingRoute) return t("error.missing");
  return error.detail || t("error.unexpected", { status: error.status });
}

/**
 * Does the work of a button, once at a time. Shows a failure. (A disabled button would lose the focus.)
 * @param {HTMLButtonElement|null} button
 * @param {() => Promise<void>} work
 * @param {(words: string, error: unknown) => void} [say]
 */
export async function attempt(button, work, say = (words) => toast(words, "bad")) {
  if (button?.getAttribute("aria-disabled")) return;
  button?.setAttribute("aria-disabled", "true");
  try {
    await work();
  } catch (error) {
    if (!isAbort(error)) say(wordsOf(error), error);
  } finally {
    button?.removeAttribute("aria-disabled");
  }
}

/** A box that says what failed, with a button to try again. @param {unknown} error @param {() => void} again */
export function errorBox(error, again) {
  const needsKey = error instanceof ApiError && error.status === 401;
  const code = error instanceof ApiError && error.status > 0 ? h("code", { class: "code", text: error.code }) : null;
  return h(
    "div",
    { class: "notice notice-danger", role: "alert" },
    h("p", { class: "notice-text" }, h("strong", { text: t("error.title") }), " ", wordsOf(error), " ", code),
    h("button", {
      type: "button",
      class: "button button-small",
      text: t(needsKey ? "error.enter_key" : "common.retry"),
      onclick: again,
    }),
  );
}

export const loadingBox = () => h("p", { class: "loading", text: t("common.loading") });

/**
 * Fills `place` with what `load` brings, or with what went wrong.
 * @param {HTMLElement} place @param {() => Promise<Node[]>} load
 */
export async function fill(place, load) {
  place.setAttribute("aria-busy", "true");
  if (!place.hasChildNodes()) place.replaceChildren(loadingBox());
  try {
    place.replaceChildren(...(await load()));
  } catch (error) {
    if (!isAbort(error)) place.replaceChildren(errorBox(error, () => fill(place, load)));
  } finally {
    place.removeAttribute("aria-busy");
  }
}
