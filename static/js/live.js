/** Changes as they happen: by WebSocket, and by long polls if there is none. */

import { ApiError, addressOf, getJson, isAbort, listTasks, query, taskPath } from "./api.js";
import { byId, setText } from "./dom.js";
import { t } from "./i18n.js";
import { askForKey, knownKey } from "./key.js";

/** @typedef {import("./types.js").Task} Task */
/** @typedef {(message: any) => void} Take */

const SILENCE_MS = 40_000;
const LONG_POLL_S = 25;
const POLL_PAUSE_MS = 1000;
const LIST_PAUSE_MS = 2000;
const AFTER_DROP_MS = 3000;
const WITHOUT_SOCKET_MS = 60_000;
const NORMAL_CLOSE = 1000;
const KEY_REFUSED = 4401;

/** @param {Task} task */
export const hasEnded = (task) => ["completed", "failed", "cancelled"].includes(task.status);

/**
 * @param {string} taskId
 * @param {(task: Task) => void} onTask the newest state, until the task has ended
 * @returns {() => void} stops it
 */
export function watchTask(taskId, onTask) {
  const stop = new AbortController();
  let seq = /** @type {number|undefined} */ (undefined);
  let ended = false;
  /** @param {Task} task */
  const take = (task) => {
    seq = task.seq;
    ended = hasEnded(task);
    onTask(task);
  };
  const poll = async () => {
    const before = seq;
    const wait = before === undefined ? null : LONG_POLL_S;
    take(await getJson(taskPath(taskId, `/status${query({ wait, since: before ?? null })}`), { signal: stop.signal }));
    if (!ended && (seq === undefined || seq === before)) await pause(POLL_PAUSE_MS, stop.signal);
  };
  const onMessage = (/** @type {any} */ message) => message.task && take(message.task);
  void run({ path: taskPath(taskId, "/ws"), onMessage, poll, done: () => ended, signal: stop.signal });
  return () => stop.abort();
}

/**
 * @param {(tasks: Task[]) => void} onAll all live tasks, newest first
 * @param {(task: Task) => void} onTask one of them (also its last state)
 * @returns {() => void} stops it
 */
export function watchTasks(onAll, onTask) {
  const stop = new AbortController();
  const poll = async () => {
    const { tasks } = await listTasks(50, 0, stop.signal);
    onAll(tasks.filter((task) => !hasEnded(task)));
    await pause(LIST_PAUSE_MS, stop.signal);
  };
  const onMessage = (/** @type {any} */ message) => {
    if (message.type === "snapshot") onAll(message.tasks);
    if (message.type === "task") onTask(message.task);
  };
  void run({ path: "/import/ws", onMessage, poll, done: () => false, signal: stop.signal });
  return () => stop.abort();
}

/**
 * @typedef {{path: string, onMessage: Take, poll: () => Promise<void>, done: () => boolean, signal: AbortSignal}} Channel
 */

/** Socket, then polls for a while, then the socket again. @param {Channel} channel */
async function run(channel) {
  channel.signal.addEventListener("abort", () => showLink(null));
  let worked = false; // a socket that never worked is not tried again soon
  while (!channel.signal.aborted && !channel.done()) {
    const key = knownKey();
    const { answered, code } = await socketSession(channel, key);
    worked ||= answered;
    if (channel.signal.aborted || channel.done()) break;
    if (code === KEY_REFUSED && !(await askForKey(key))) break;
    if (code !== KEY_REFUSED && !(await pollFor(channel, worked ? AFTER_DROP_MS : WITHOUT_SOCKET_MS))) break;
  }
  if (!channel.signal.aborted) showLink(null);
}

/**
 * @param {Channel} channel
 * @param {string|null} key
 * @returns {Promise<{answered: boolean, code: number}>} whether a message came, and why it closed
 */
function socketSession(channel, key) {
  return new Promise((resolve) => {
    const socket = new WebSocket(socketAddress(channel.path));
    let answered = false;
    let silence = setTimeout(() => socket.close(), SILENCE_MS);
    socket.onopen = () => socket.send(JSON.stringify({ type: "auth", key: key ?? "" })); // ignored if the service has no key
    socket.onmessage = (event) => {
      if (channel.signal.aborted) return;
      answered = true;
      clearTimeout(silence);
      silence = setTimeout(() => socket.close(), SILENCE_MS);
      showLink("live");
      channel.onMessage(JSON.parse(event.data));
    };
    socket.onclose = (event) => {
      clearTimeout(silence);
      resolve({ answered, code: event.code });
    };
    channel.signal.addEventListener("abort", () => socket.close(NORMAL_CLOSE), { once: true });
  });
}

/**
 * @param {Channel} channel
 * @param {number} milliseconds
 * @returns {Promise<boolean>} false if there is nothing left to poll
 */
async function pollFor(channel, milliseconds) {
  const until = Date.now() + milliseconds;
  while (!channel.signal.aborted && !channel.done() && Date.now() < until) {
    try {
      await channel.poll();
      if (!channel.signal.aborted) showLink("polling");
    } catch (error) {
      if (isAbort(error)) return false;
      if (!(error instanceof ApiError)) throw error;
      if (error.status === 401 || error.status === 404) return false;
      showLink("offline");
      await pause(LIST_PAUSE_MS, channel.signal);
    }
  }
  return true;
}

/** @param {string} path */
function socketAddress(path) {
  const address = addressOf(path);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  return address.href;
}

/** @param {number} milliseconds @param {AbortSignal} signal @returns {Promise<void>} */
function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

/** @param {"live"|"polling"|"offline"|null} state null: nothing is watched on this page */
function showLink(state) {
  const place = byId("link-state");
  place.dataset.state = state ?? "none";
  setText(/** @type {Node} */ (place.querySelector(".link-word")), state ? t(`shell.${state}`) : "");
}
