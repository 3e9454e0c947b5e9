/** The shell: navigation, language, theme, and the page that the address asks for. */

import { byId, h, icon, setAttribute } from "./dom.js";
import { language, setLanguage, t, translateShell } from "./i18n.js";
import { currentRoute, linkTo } from "./router.js";
import { isDark, onThemeChange, setTheme } from "./theme.js";
import { importView } from "./views/import_form.js";
import { monthsView } from "./views/months.js";
import { notFoundView } from "./views/not_found.js";
import { overviewView } from "./views/overview.js";
import { systemView } from "./views/system.js";
import { taskView } from "./views/task.js";
import { tasksView } from "./views/tasks.js";

/** @typedef {import("./types.js").View} View */
/** @typedef {import("./router.js").Route} Route */

const PAGES = [
  { name: "overview", parts: [], icon: "overview" },
  { name: "import", parts: ["import"], icon: "import" },
  { name: "months", parts: ["months"], icon: "months" },
  { name: "history", parts: ["tasks"], icon: "history" },
  { name: "system", parts: ["system"], icon: "system" },
];
/** @type {Record<string, (route: Route) => View>} */
const VIEWS = { import: importView, months: monthsView, tasks: tasksView, system: systemView };

/** @type {{key: string, view: View}|null} */
let shown = null;

/** @param {Route} route @returns {{key: string, make: () => View}} */
function wanted(route) {
  const [first, second] = route.parts;
  if (first === "tasks" && second) return { key: `task ${second}`, make: () => taskView(second, route) };
  if (first && Object.hasOwn(VIEWS, first)) return { key: `${first} ${route.query}`, make: () => VIEWS[first](route) };
  if (first) return { key: "not found", make: notFoundView };
  return { key: "overview", make: () => overviewView() };
}

function showRoute() {
  const route = currentRoute();
  const { key, make } = wanted(route);
  markNavigation(route);
  if (shown?.key === key && shown.view.show) return shown.view.show(route);
  const isFirst = shown === null;
  shown?.view.stop?.();
  const view = make();
  shown = { key, view };
  byId("main").replaceChildren(view.node);
  document.title = `${view.title} · ${t("shell.brand")}`;
  if (!isFirst) begin(view.node);
}

/** A new page begins at its heading, for eyes and for screen readers. @param {HTMLElement} node */
function begin(node) {
  window.scrollTo(0, 0);
  node.querySelector("h1")?.focus({ preventScroll: true });
}

/** @param {Route} route */
function markNavigation(route) {
  const here = route.parts[0] ?? "";
  for (const link of byId("sidebar").querySelectorAll("a")) {
    setAttribute(link, "aria-current", link.dataset.page === here ? "page" : null);
  }
}

function drawNavigation() {
  const links = PAGES.map((page) =>
    h(
      "a",
      { class: "nav-link", href: linkTo(page.parts), "data-page": page.parts[0] ?? "" },
      icon(page.icon),
      h("span", { text: t(`nav.${page.name}`) }),
    ),
  );
  byId("sidebar").replaceChildren(...links);
}

function drawTools() {
  const button = byId("language");
  button.textContent = t("shell.other_language");
  button.lang = language() === "zh" ? "en" : "zh-CN";
  byId("theme").setAttribute("aria-label", t(isDark() ? "shell.to_light" : "shell.to_dark"));
}

function drawShell() {
  translateShell();
  drawNavigation();
  drawTools();
}

/** Everything anew, in the other language or after the key has changed. */
function redraw() {
  shown?.view.stop?.();
  shown = null;
  drawShell();
  showRoute();
}

byId("language").addEventListener("click", () => {
  setLanguage(language() === "zh" ? "en" : "zh");
  redraw();
});
byId("theme").addEventListener("click", () => setTheme(isDark() ? "light" : "dark"));
document.querySelector(".skip-link")?.addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
document.addEventListener("dashboard:redraw", redraw);
onThemeChange(drawTools);
window.addEventListener("hashchange", showRoute);
drawShell();
showRoute();
