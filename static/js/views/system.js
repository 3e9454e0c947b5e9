/** Whether an import could work now, what is wrong if not, and the settings of this page. */

import { getJson, readiness } from "../api.js";
import { h, icon, uniqueId } from "../dom.js";
import { clock } from "../format.js";
import { language, setLanguage, t, tOr } from "../i18n.js";
import { forgetKey, knownKey } from "../key.js";
import { fill, toast } from "../notify.js";
import { choice, factList, labelled, onlyBackgroundWaits, pageHead, section, serviceWords } from "../parts/pieces.js";
import { chosenTheme, setTheme } from "../theme.js";

/** @typedef {import("../types.js").Check} Check */

/** @returns {import("../types.js").View} */
export function systemView() {
  const place = h("div", { class: "card" });
  const stop = new AbortController();
  const load = () => fill(place, () => readinessNodes(stop.signal));
  const again = h(
    "button",
    { type: "button", class: "button", onclick: load },
    icon("retry"),
    h("span", { text: t("system.again") }),
  );
  void load();
  const node = h(
    "div",
    { class: "page page-narrow" },
    pageHead(t("system.title"), again),
    place,
    section(t("system.settings"), [pageSettings()]),
  );
  return { title: t("system.title"), node, stop: () => stop.abort() };
}

/** @param {AbortSignal} signal */
async function readinessNodes(signal) {
  const [ready, about] = await Promise.all([readiness(signal), getJson("/", { signal })]);
  const fine = ready.status === "ready";
  const words = fine ? "ready" : onlyBackgroundWaits(ready.checks) ? "ready_partly" : "not_ready";
  const head = h(
    "p",
    { class: `ready-line ready-${fine ? "yes" : "no"}` },
    icon(fine ? "check" : "warning"),
    h("strong", { text: t(`system.${words}`) }),
  );
  const facts = factList([
    [t("system.contract"), ready.contract],
    [t("system.version"), `${about.name} ${about.version}`],
    [t("system.at", { time: "" }).trim(), clock(ready.timestamp)],
  ]);
  return [head, h("ul", { class: "checks" }, ...ready.checks.map(checkRow)), facts];
}

/** @param {Check} check */
function checkRow(check) {
  const todo = check.ok ? "" : tOr(`checks.todo.${check.name}`, "");
  return h(
    "li",
    { class: `check-row check-${check.ok ? "ok" : "bad"}`, "data-check": check.name },
    icon(check.ok ? "check" : "warning"),
    h(
      "div",
      {},
      h("strong", { text: tOr(`checks.${check.name}`, check.name) }),
      h("span", { class: "visually-hidden", text: ` ${t(check.ok ? "system.ok" : "system.bad")}` }),
      serviceWords("p", "check-detail", check.detail),
      todo && h("p", { class: "check-todo", text: todo }),
    ),
  );
}

function pageSettings() {
  const languages = choice(
    [
      ["zh", "中文"],
      ["en", "English"],
    ],
    language(),
  );
  languages.addEventListener("change", () => {
    setLanguage(languages.value);
    redraw();
  });
  const themes = choice(
    [
      ["system", t("system.theme_system")],
      ["light", t("system.theme_light")],
      ["dark", t("system.theme_dark")],
    ],
    chosenTheme(),
  );
  themes.addEventListener("change", () => setTheme(themes.value));
  return h(
    "div",
    { class: "card settings" },
    labelled(t("system.language"), languages),
    labelled(t("system.theme"), themes),
    keySetting(),
  );
}

function keySetting() {
  const id = uniqueId("key");
  const known = Boolean(knownKey());
  const forget = h("button", {
    type: "button",
    class: "button button-small",
    "aria-describedby": id,
    text: t("key.forget"),
    onclick: () => {
      forgetKey();
      toast(t("key.forgotten"));
      redraw();
    },
  });
  return h(
    "div",
    { class: "labelled" },
    h("span", { class: "label", text: t("system.key") }),
    h("p", { id, class: "quiet", text: t(known ? "system.key_kept" : "system.key_none") }),
    known ? forget : null,
  );
}

/** The shell draws everything anew. */
const redraw = () => document.dispatchEvent(new Event("dashboard:redraw"));
