/** What happens now: service, running tasks, months, recent tasks. */

import { ApiError, listMonths, listTasks, readiness } from "../api.js";
import { follow, h, icon, setText } from "../dom.js";
import { number, shortMoment } from "../format.js";
import { t, tOr } from "../i18n.js";
import { hasEnded, watchTasks } from "../live.js";
import { fill } from "../notify.js";
import { onlyBackgroundWaits, pageHead, section, stateOf } from "../parts/pieces.js";
import { taskCard } from "../parts/task_card.js";
import { taskTable } from "../parts/task_table.js";
import { linkTo, taskLink } from "../router.js";

/** @typedef {import("../types.js").Task} Task */

const RECENT = 8;
const READY_EVERY_MS = 30_000;

/** @returns {import("../types.js").View} */
export function overviewView() {
  const stop = new AbortController();
  const tiles = {
    ready: tile("ready", linkTo(["system"])),
    running: tile("running", linkTo(["tasks"])),
    months: tile("months", linkTo(["months"])),
    last: tile("last", linkTo(["tasks"])),
  };
  const list = h("div", { class: "task-cards" });
  const idle = h("p", { class: "empty-line", hidden: true }, t("overview.idle"));
  const recent = h("div", { class: "card card-flush" });
  const refresh = () =>
    Promise.all([fillRecent(recent, tiles.last, stop.signal), fillMonths(tiles.months, stop.signal)]);
  const active = activeTasks(list, idle, tiles.running, refresh);
  const stopWatching = watchTasks(active.takeAll, active.takeOne);
  void refresh();
  void fillReady(tiles.ready, stop.signal);
  const timer = setInterval(() => void fillReady(tiles.ready, stop.signal), READY_EVERY_MS);
  const start = h(
    "a",
    { class: "button button-primary", href: linkTo(["import"]) },
    icon("import"),
    h("span", { text: t("overview.start") }),
  );
  const all = h("a", { class: "text-link", href: linkTo(["tasks"]), text: t("overview.all_tasks") });
  const node = h(
    "div",
    { class: "page" },
    pageHead(t("overview.title"), start),
    h("div", { class: "tiles" }, ...Object.values(tiles).map((part) => part.node)),
    section(t("overview.active"), [idle, list]),
    section(t("overview.recent"), [recent], [all]),
  );
  return {
    title: t("overview.title"),
    node,
    stop: () => {
      clearInterval(timer);
      stopWatching();
      stop.abort();
    },
  };
}

/**
 * @param {HTMLElement} list
 * @param {HTMLElement} idle
 * @param {Tile} running
 * @param {() => Promise<unknown>} refresh when a task has come or gone
 */
function activeTasks(list, idle, running, refresh) {
  /** @type {Map<string, Task>} */
  let tasks = new Map();
  const draw = () => {
    const live = [...tasks.values()];
    const working = live.filter((task) => task.status === "running").length;
    idle.hidden = live.length > 0;
    follow(list, live, (task) => task.task_id, taskCard);
    running.show(
      number(working),
      live.length > working ? t("overview.waiting", { n: number(live.length - working) }) : "",
      working ? "active" : "quiet",
    );
  };
  return {
    takeAll: (/** @type {Task[]} */ all) => {
      const changed = all.length !== tasks.size || all.some((task) => !tasks.has(task.task_id));
      const first = tasks.size === 0 && all.length === 0;
      tasks = new Map(all.map((task) => [task.task_id, task]));
      draw();
      if (changed && !first) void refresh();
    },
    takeOne: (/** @type {Task} */ task) => {
      const known = tasks.has(task.task_id);
      if (hasEnded(task)) tasks.delete(task.task_id);
      else tasks = known ? tasks.set(task.task_id, task) : new Map([[task.task_id, task], ...tasks]);
      draw();
      if (hasEnded(task) || !known) void refresh();
    },
  };
}

/** @typedef {ReturnType<typeof tile>} Tile */

/** @param {string} name @param {string} link */
function tile(name, link) {
  const value = h("span", { class: "tile-value", text: "–" });
  const note = h("span", { class: "tile-note" });
  const node = h(
    "a",
    { class: "tile", href: link, "data-tile": name },
    h("span", { class: "tile-word", text: t(`overview.${name}`) }),
    value,
    note,
  );
  return {
    node,
    show: (/** @type {string} */ text, /** @type {string} */ more, /** @type {string} */ tone) => {
      setText(value, text);
      setText(note, more);
      node.dataset.tone = tone;
    },
  };
}

/** @param {Tile} place @param {AbortSignal} signal */
async function fillReady(place, signal) {
  await quietly(async () => {
    const ready = await readiness(signal);
    const bad = ready.checks.filter((check) => !check.ok).map((check) => tOr(`checks.${check.name}`, check.name));
    const words = onlyBackgroundWaits(ready.checks) ? "overview.ready_partly" : "overview.ready_no";
    if (bad.length) place.show(t(words), bad.join(" · "), "danger");
    else place.show(t("overview.ready_yes"), t("overview.fine"), "good");
  });
}

/** @param {Tile} place @param {AbortSignal} signal */
async function fillMonths(place, signal) {
  await quietly(async () => {
    const named = (await listMonths(signal)).months.filter((month) => month.month !== null);
    const done = named.filter((month) => month.state === "done").length;
    if (!named.length) return place.show("–", t("overview.no_months"), "quiet");
    place.show(
      t("overview.months_of", { done: number(done), total: number(named.length) }),
      done < named.length ? t("overview.open_months", { n: number(named.length - done) }) : "",
      done < named.length ? "warning" : "good",
    );
  });
}

/** @param {HTMLElement} place @param {Tile} last @param {AbortSignal} signal */
function fillRecent(place, last, signal) {
  return fill(place, async () => {
    const { tasks } = await listTasks(RECENT, 0, signal);
    const ended = tasks.find((task) => hasEnded(task) && !task.dry_run);
    if (ended) {
      last.show(shortMoment(ended.completed_at), stateOf(ended).word, stateOf(ended).tone);
      last.node.setAttribute("href", taskLink(ended.task_id));
    } else last.show("–", t("overview.never"), "quiet");
    return [tasks.length ? taskTable(t("overview.recent"), tasks) : h("p", { class: "empty", text: t("tasks.empty") })];
  });
}

/**
 * A tile that cannot be filled stays as it is: the rest of the page says what is wrong.
 * @param {() => Promise<void>} work
 */
async function quietly(work) {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof ApiError) && !(error instanceof DOMException)) throw error;
  }
}
