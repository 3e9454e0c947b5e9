/** Folders under the allowed roots, to choose one from. */

import { ApiError, getJson, query } from "../api.js";
import { h, icon, setAttribute } from "../dom.js";
import { number } from "../format.js";
import { t } from "../i18n.js";
import { fill } from "../notify.js";
import { badge, pathNode } from "./pieces.js";

/** @typedef {import("../types.js").Sources} Sources */
/** @typedef {import("../types.js").Folder} Folder */

/**
 * @param {(path: string) => void} onChoose
 * @param {string|null} start the folder to begin in
 */
export function folderBrowser(onChoose, start) {
  const place = h("div", { class: "folders-body" });
  const node = h("div", { class: "folders", role: "group", "aria-label": t("folders.title") }, place);
  let chosen = start ?? "";

  /** @param {string} path */
  const choose = (path) => {
    chosen = path;
    mark(place, chosen);
    onChoose(path);
  };
  /** @param {string|null} path @param {boolean} [withFocus] */
  const open = async (path, withFocus = false) => {
    await fill(place, async () => {
      const sources = await insideOnlyRoot(await sourcesAt(path));
      return sources
        ? levelNodes(sources, { open: (next) => open(next, true), choose })
        : [h("p", { class: "quiet", text: t("folders.unsupported") })];
    });
    mark(place, chosen);
    if (withFocus) place.querySelector("button")?.focus();
  };
  void open(null);
  return {
    node,
    mark: (/** @type {string} */ path) => {
      chosen = path;
      mark(place, path);
    },
  };
}

/** Null if the service is too old to have the route. @param {string|null} path @returns {Promise<Sources|null>} */
async function sourcesAt(path) {
  try {
    return await getJson(`/sources${query({ path })}`);
  } catch (error) {
    if (error instanceof ApiError && error.isMissingRoute) return null;
    throw error;
  }
}

/** One root is no choice: its folders are shown at once. @param {Sources|null} sources */
async function insideOnlyRoot(sources) {
  const onlyRoot = sources?.path === null && sources.folders.length === 1 ? sources.folders[0] : null;
  return onlyRoot ? sourcesAt(onlyRoot.path) : sources;
}

/** @typedef {{open: (path: string|null) => void, choose: (path: string) => void}} Doing */

/** @param {Sources} sources @param {Doing} doing @returns {Node[]} */
function levelNodes(sources, doing) {
  const rows = sources.folders.map((folder) => folderRow(folder, doing));
  const list = rows.length
    ? h("ul", { class: "folder-list" }, ...rows)
    : h("p", { class: "quiet folder-none", text: t("folders.empty") });
  const cut = sources.truncated && h("p", { class: "hint", text: t("folders.truncated", { n: number(rows.length) }) });
  return [levelHead(sources, doing), list, ...(cut ? [cut] : [])];
}

/** @param {Sources} sources @param {Doing} doing */
function levelHead(sources, doing) {
  if (sources.path === null)
    return h("div", { class: "folder-head" }, h("span", { class: "folder-here", text: t("folders.roots") }));
  const here = sources.path;
  const up =
    (sources.parent !== null || sources.roots.length > 1) &&
    h(
      "button",
      { type: "button", class: "button button-small", onclick: () => doing.open(sources.parent) },
      icon("up"),
      h("span", { text: t("folders.up") }),
    );
  const choose = sources.importable && chooseButton(here, doing);
  return h("div", { class: "folder-head" }, up || null, pathNode(here, "path folder-here"), choose || null);
}

/** @param {Folder} folder @param {Doing} doing */
function folderRow(folder, doing) {
  const kind = badge(t(`folders.${folder.kind}`), folder.importable ? "outline" : "quiet");
  const enter = h(
    "button",
    {
      type: "button",
      class: "folder-enter",
      "aria-label": t("folders.enter", { name: folder.name }),
      onclick: () => doing.open(folder.path),
    },
    icon("folder"),
    h("span", { class: "folder-name", text: folder.name }),
    kind,
  );
  return h(
    "li",
    { class: `folder-row folder-${folder.kind}`, "data-path": folder.path },
    enter,
    folder.importable ? chooseButton(folder.path, doing) : null,
  );
}

/** @param {string} path @param {Doing} doing */
function chooseButton(path, doing) {
  return h(
    "button",
    {
      type: "button",
      class: "button button-small folder-choose",
      "data-path": path,
      "aria-pressed": "false",
      onclick: () => doing.choose(path),
    },
    icon("check"),
    h("span", { text: t("folders.choose") }),
    h("span", { class: "visually-hidden", text: path }),
  );
}

/** @param {HTMLElement} place @param {string} chosen */
function mark(place, chosen) {
  for (const button of place.querySelectorAll(".folder-choose")) {
    const isChosen = button.getAttribute("data-path") === chosen;
    setAttribute(button, "aria-pressed", String(isChosen));
    const word = button.querySelector("span");
    if (word) word.textContent = t(isChosen ? "folders.chosen" : "folders.choose");
  }
}
