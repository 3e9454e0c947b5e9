/** One task: what it is, how far, the account of its files, and four sections with the details. */

import { download, getJson, taskPath } from "../api.js";
import { h, icon, setAttribute, setText } from "../dom.js";
import { duration, moment, splitPath } from "../format.js";
import { language, t } from "../i18n.js";
import { hasEnded, watchTask } from "../live.js";
import { announce, attempt, errorBox, loadingBox, toast } from "../notify.js";
import { factList, pathNode, serviceWords, stateBadges, stateOf } from "../parts/pieces.js";
import { planPanel } from "../parts/plan.js";
import { taskActions } from "../parts/task_actions.js";
import { taskCounts } from "../parts/task_counts.js";
import { taskNotices } from "../parts/task_notices.js";
import { taskProgress } from "../parts/task_progress.js";
import { taskLink } from "../router.js";
import { filesSection } from "./task_files.js";
import { outcomesSection } from "./task_outcomes.js";
import { picturesSection } from "./task_pictures.js";
import { verifySection } from "./task_verify.js";

/** @typedef {import("../types.js").Task} Task */
/** @typedef {import("../router.js").Route} Route */
/** @typedef {{node: HTMLElement, update?: (task: Task) => void, stop?: () => void}} Section */

/** @type {Record<string, (task: Task, route: Route) => Section>} */
const SECTIONS = { outcomes: outcomesSection, pictures: picturesSection, files: filesSection, verify: verifySection };
const QUARTER = 25;

/** @param {string} taskId @param {Route} route @returns {import("../types.js").View} */
export function taskView(taskId, route) {
  const node = h("div", { class: "page" }, loadingBox());
  const stop = new AbortController();
  /** @type {ReturnType<typeof taskPage>|null} */
  let page = null;
  let here = route;
  let stopWatching = () => {};
  const take = (/** @type {Task} */ task) => page?.update(task);
  const watch = () => {
    stopWatching();
    stopWatching = watchTask(taskId, take);
  };
  const load = async () => {
    try {
      const task = await getJson(taskPath(taskId, "/status"), { signal: stop.signal });
      page = taskPage(task, here);
      node.replaceChildren(...page.nodes);
      document.title = `${splitPath(task.source_path)[1]} · ${t("shell.brand")}`;
      if (!hasEnded(task)) watch();
    } catch (error) {
      if (!stop.signal.aborted)
        node.replaceChildren(
          h("h1", { class: "page-title", tabindex: "-1", text: t("task.title") }),
          errorBox(error, load),
        );
    }
  };
  void load();
  return {
    title: t("task.title"),
    node,
    show: (next) => {
      here = next;
      page?.show(next);
    },
    stop: () => {
      stop.abort();
      stopWatching();
      page?.stop();
    },
  };
}

/** @param {Task} first @param {Route} route */
function taskPage(first, route) {
  const parts = [taskHead(first), taskProgress(first), planPanel(), taskCounts(first), taskNotices()];
  const [head, progress, plan, counts, notices] = parts;
  const tabs = sectionTabs(first);
  const place = h("div", { class: "section-place" });
  const announceChanges = changeAnnouncer();
  let task = first;
  /** @type {Section} */
  let section;
  const show = (/** @type {Route} */ next) => {
    const name = tabs.mark(next.parts[2]);
    section?.stop?.();
    section = SECTIONS[name](task, next);
    place.replaceChildren(section.node);
  };
  const update = (/** @type {Task} */ now) => {
    task = now;
    for (const part of parts) part.update(now);
    section?.update?.(now);
    announceChanges(now);
  };
  show(route);
  update(first);
  return {
    nodes: [
      head.node,
      plan.node,
      h("div", { class: "card task-summary" }, progress.node, counts.node),
      notices.node,
      tabs.node,
      place,
    ],
    show,
    update,
    stop: () => section.stop?.(),
  };
}

/** @param {Task} task @returns {import("../types.js").Part} */
function taskHead(task) {
  const badges = h("div", { class: "task-badges" });
  const actions = taskActions(() => undefined);
  const result = h("p", { class: "task-result", lang: "zh-CN" });
  const facts = h("div", { class: "task-facts" });
  const node = h(
    "header",
    { class: "task-head" },
    h(
      "div",
      { class: "task-head-row" },
      h(
        "div",
        { class: "task-name" },
        badges,
        h("h1", { class: "page-title task-title", tabindex: "-1" }, pathNode(task.source_path)),
        task.description && h("p", { class: "task-description", text: task.description }),
      ),
      h("div", { class: "page-actions" }, actions.node, reportMenu(task)),
    ),
    result,
    facts,
  );
  let state = "";
  return {
    node,
    update: (/** @type {Task} */ now) => {
      actions.update(now);
      setText(result, resultWords(now));
      const next = [now.status, now.result, now.retried_by, now.completed_at, now.started_at].join();
      if (next === state) return;
      state = next;
      badges.replaceChildren(stateBadges(now));
      facts.replaceChildren(taskFacts(now));
    },
  };
}

/** The service's own sentence; in English only if the text below does not contain it. @param {Task} task */
function resultWords(task) {
  const needed = language() === "zh" || task.status === "failed" || task.result === "failed";
  return (needed && task.result_detail) || "";
}

/** @param {Task} task */
function taskFacts(task) {
  const link = (/** @type {string|null} */ id) => id && h("a", { class: "text-link", href: taskLink(id), text: id });
  return factList([
    [t("counts.task"), h("code", { text: task.task_id })],
    [t("counts.started"), moment(task.started_at ?? task.created_at)],
    [t("counts.ended"), task.completed_at && moment(task.completed_at)],
    [t("counts.duration"), task.duration_seconds === null ? null : duration(task.duration_seconds)],
    [t("task.parent"), link(task.parent_id)],
    [t("task.child"), link(task.retried_by)],
  ]);
}

/** @param {Task} task */
function reportMenu(task) {
  const item = (/** @type {string} */ form) => {
    const button = h("button", {
      type: "button",
      class: "menu-item",
      text: t(`task.${form}`),
      onclick: () =>
        attempt(button, async () => {
          await download(taskPath(task.task_id, `/report?format=${form}&include=ignored&include=skipped`), `${task.task_id}.${form}`);
          toast(t("task.downloaded"));
          menu.open = false;
        }),
    });
    return button;
  };
  const menu = h(
    "details",
    { class: "menu" },
    h("summary", { class: "button" }, icon("download"), h("span", { text: t("task.report") })),
    h("div", { class: "menu-items" }, item("csv"), item("ndjson")),
  );
  menu.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== "Escape") return;
    menu.open = false;
    menu.querySelector("summary")?.focus();
  });
  return menu;
}

/** @param {Task} task */
function sectionTabs(task) {
  const names = Object.keys(SECTIONS).filter((name) => name !== "verify" || !task.dry_run);
  const links = names.map((name) =>
    h("a", { class: "tab", href: taskLink(task.task_id, name), "data-section": name, text: t(`task.${name}`) }),
  );
  return {
    node: h("nav", { class: "tabs", "aria-label": t("task.tabs") }, ...links),
    mark: (/** @type {string|undefined} */ wanted) => {
      const name = wanted && names.includes(wanted) ? wanted : names[0];
      for (const link of links) setAttribute(link, "aria-current", link.dataset.section === name ? "page" : null);
      return name;
    },
  };
}

/** Announces each quarter and each change of state to screen readers. */
function changeAnnouncer() {
  let state = "";
  let quarter = -1;
  return (/** @type {Task} */ task) => {
    const name = splitPath(task.source_path)[1];
    const now = Math.floor((task.progress.percent ?? 0) / QUARTER);
    const words = stateOf(task).word;
    if (state && words !== state) announce(t("progress.announce_state", { name, state: words }));
    else if (state && now > quarter && !hasEnded(task))
      announce(t("progress.announce", { name, percent: now * QUARTER }));
    state = words;
    quarter = now;
  };
}
