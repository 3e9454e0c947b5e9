/** Light or dark: as the system has it, unless the reader chose. */

import { keepPreference, preference } from "./stored.js";

const system = window.matchMedia("(prefers-color-scheme: dark)");
/** @type {(() => void)[]} */
const listeners = [];

/** @returns {"system"|"light"|"dark"} */
export function chosenTheme() {
  const kept = preference("theme");
  return kept === "light" || kept === "dark" ? kept : "system";
}

export const isDark = () => (chosenTheme() === "system" ? system.matches : chosenTheme() === "dark");

/** @param {"system"|"light"|"dark"} theme */
export function setTheme(theme) {
  keepPreference("theme", theme === "system" ? null : theme);
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  for (const listener of listeners) listener();
}

/** @param {() => void} listener */
export function onThemeChange(listener) {
  listeners.push(listener);
}

system.addEventListener("change", () => listeners.forEach((listener) => listener()));
