/** The service's public JSON. The key travels in a header, never in an address. */

import { language } from "./i18n.js";
import { askForKey, headersWithKey, knownKey } from "./key.js";

export class ApiError extends Error {
  /**
   * @param {number} status 0 if no answer came
   * @param {string} code
   * @param {string} detail
   * @param {{legal?: string[], task_id?: string}} [more]
   */
  constructor(status, code, detail, more = {}) {
    super(detail);
    this.status = status;
    this.code = code;
    this.detail = detail;
    this.legal = more.legal ?? null;
    this.taskId = more.task_id ?? null;
  }

  /** The service is older than this page. */
  get isMissingRoute() {
    return this.code === "route_not_found" || this.code === "method_not_allowed";
  }
}

/** @param {unknown} error */
export const isAbort = (error) => error instanceof DOMException && error.name === "AbortError";

/** @typedef {{method?: string, body?: unknown, signal?: AbortSignal, accepts?: number[]}} Call */

/**
 * @param {string} path
 * @param {Call} [call] `accepts`: statuses beside 2xx that carry an answer, not a problem
 * @returns {Promise<Response>}
 */
export async function ask(path, call = {}) {
  for (;;) {
    const key = knownKey();
    const answer = await send(path, call);
    if (answer.ok || call.accepts?.includes(answer.status)) return answer;
    const problem = await problemOf(answer);
    if (answer.status !== 401 || !(await askForKey(key))) throw problem;
  }
}

/**
 * Below the page's own address, which may be in a sub-path of a proxy; with the language of the texts.
 * @param {string} path begins with a slash
 */
export function addressOf(path) {
  const address = new URL(`.${path}`, document.baseURI);
  if (language() === "en") address.searchParams.set("lang", "en");
  return address;
}

/** @param {string} path @param {Call} call */
async function send(path, call) {
  const headers = headersWithKey(call.body === undefined ? {} : { "Content-Type": "application/json" });
  const body = call.body === undefined ? undefined : JSON.stringify(call.body);
  try {
    return await fetch(addressOf(path), { method: call.method ?? "GET", headers, body, signal: call.signal });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ApiError(0, "network", "");
  }
}

/** @param {Response} answer */
async function problemOf(answer) {
  try {
    const body = await answer.json();
    return new ApiError(answer.status, String(body.code ?? "unknown"), String(body.detail ?? ""), body);
  } catch {
    return new ApiError(answer.status, "unknown", "");
  }
}

/** @param {string} path @param {Call} [call] @returns {Promise<any>} */
export const getJson = async (path, call) => (await ask(path, call)).json();

/** @param {string} path @param {unknown} [body] @returns {Promise<any>} */
export const post = async (path, body) => (await ask(path, { method: "POST", body })).json();

/** @param {Record<string, string|number|null|undefined>} values */
export function query(values) {
  const present = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(present.map(([name, value]) => [name, String(value)])).toString();
  return text && `?${text}`;
}

/** @param {string} taskId @param {string} [rest] */
export const taskPath = (taskId, rest = "") => `/import/${encodeURIComponent(taskId)}${rest}`;

/** @param {AbortSignal} [signal] @returns {Promise<import("./types.js").Readiness>} */
export const readiness = (signal) => getJson("/health/ready", { signal, accepts: [503] });

/**
 * @param {number} limit
 * @param {number} [offset]
 * @param {AbortSignal} [signal]
 * @returns {Promise<{total: number, tasks: import("./types.js").Task[]}>}
 */
export const listTasks = (limit, offset = 0, signal) => getJson(`/import/tasks${query({ limit, offset })}`, { signal });

/** @param {AbortSignal} [signal] @returns {Promise<{months: import("./types.js").Month[], counted_at: string}>} */
export const listMonths = (signal) => getJson("/months", { signal });

/**
 * @param {string} taskId @param {number} fileNumber
 * @param {{size?: number, frame?: number, signal?: AbortSignal}} options
 * @returns {Promise<{blob: Blob, source: string|null}>}
 */
export async function picture(taskId, fileNumber, { size, frame, signal }) {
  const answer = await ask(taskPath(taskId, `/files/${fileNumber}/picture${query({ size, frame })}`), { signal });
  return { blob: await answer.blob(), source: answer.headers.get("X-Picture-Source") };
}

/** Saves an answer as a file. @param {string} path @param {string} name */
export async function download(path, name) {
  const blob = await (await ask(path)).blob();
  const address = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
