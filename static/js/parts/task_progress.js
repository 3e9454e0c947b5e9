/** Bar, figures and, if the task waits, the reason with what to do. */

import { h, icon, setAttribute, setText } from "../dom.js";
import { byteSize, duration, number, rate, splitPath } from "../format.js";
import { t, tOr } from "../i18n.js";
import { hasEnded } from "../live.js";
import { stateOf } from "./pieces.js";

/** @typedef {import("../types.js").Task} Task */

/** @param {Task} task @returns {import("../types.js").Part} */
export function taskProgress(task) {
  const fill = h("span", { class: "bar-fill" });
  const label = t("progress.label", { name: splitPath(task.source_path)[1] });
  const bar = h(
    "div",
    { class: "bar", role: "progressbar", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100 },
    fill,
  );
  const percent = h("span", { class: "progress-percent" });
  const facts = h("p", { class: "progress-facts" });
  const reason = pauseReason();
  const node = h("div", { class: "progress" }, h("div", { class: "progress-line" }, bar, percent), facts, reason.node);
  return {
    node,
    update: (/** @type {Task} */ now) => {
      node.hidden = now.status === "completed";
      drawBar(bar, fill, percent, now);
      drawFacts(facts, now);
      reason.update(now);
    },
  };
}

/** @param {HTMLElement} bar @param {HTMLElement} fill @param {HTMLElement} percent @param {Task} task */
function drawBar(bar, fill, percent, task) {
  const known = task.status === "completed" ? 100 : task.progress.percent;
  bar.dataset.tone = stateOf(task).tone;
  bar.classList.toggle("is-unknown", known === null && task.status === "running");
  fill.style.setProperty("--part", String((known ?? 0) / 100));
  setAttribute(bar, "aria-valuenow", known === null ? null : Math.floor(known));
  setAttribute(bar, "aria-valuetext", known === null ? t("progress.counting") : filesWords(task));
  setText(percent, known === null ? "…" : `${Math.floor(known)}%`);
}

/** @param {Task} task */
function filesWords(task) {
  const { total_files_scanned: done, files_found: found, total_is_final: final } = task.progress;
  if (hasEnded(task) || found < done || found === 0) return t("progress.scanned", { done: number(done) });
  return t(final ? "progress.files" : "progress.files_open", { done: number(done), found: number(found) });
}

/** @param {HTMLElement} place @param {Task} task */
function drawFacts(place, task) {
  const texts = factWords(task);
  while (place.childElementCount > texts.length) place.lastElementChild?.remove();
  while (place.childElementCount < texts.length) place.append(h("span", {}));
  texts.forEach((text, index) => setText(place.children[index], text));
}

/** @param {Task} task */
function factWords(task) {
  const { files_per_second: speed, eta_seconds: eta, bytes_uploaded: bytes, current_folder: folder } = task.progress;
  const running = task.status === "running";
  return [
    filesWords(task),
    folder ? t("progress.current", { folder }) : "",
    running && speed ? t("progress.rate", { rate: rate(speed) }) : "",
    running && eta !== null ? t("progress.eta", { time: duration(eta) }) : "",
    bytes ? t(task.dry_run ? "progress.bytes_dry" : "progress.bytes", { bytes: byteSize(bytes) }) : "",
    hasEnded(task) && task.duration_seconds !== null
      ? t("progress.took", { time: duration(task.duration_seconds) })
      : "",
  ].filter(Boolean);
}

/** @returns {import("../types.js").Part} */
function pauseReason() {
  const what = h("strong", {});
  const todo = h("span", {});
  const detail = h("span", { class: "notice-detail", lang: "zh-CN" });
  const node = h(
    "div",
    { class: "notice notice-warning pause-reason", hidden: true },
    icon("pause"),
    h("p", { class: "notice-text" }, what, " ", todo, detail),
  );
  return {
    node,
    update: (/** @type {Task} */ task) => {
      const reason = task.status === "interrupted" ? "interrupted" : task.pause_reason;
      node.hidden = !reason || hasEnded(task);
      if (!reason) return;
      setText(what, tOr(`pause.${reason}.what`, reason));
      setText(todo, tOr(`pause.${reason}.todo`, ""));
      setText(detail, task.warnings?.find((warning) => warning.code === reason)?.message ?? "");
    },
  };
}
