/** The closed account of a task's files: scanned = uploaded + already there + failed, in figures and as one bar. */

import { h, icon, setText } from "../dom.js";
import { byteSize, number } from "../format.js";
import { t } from "../i18n.js";

/** @typedef {import("../types.js").Task} Task */

const KINDS = ["uploaded", "duplicate", "failed"];

/** @param {Task} task @returns {import("../types.js").Part} */
export function taskCounts(task) {
  const scanned = figure("scanned", t("counts.scanned"));
  const terms = KINDS.map((kind) =>
    figure(kind, t(`counts.${kind === "uploaded" && task.dry_run ? "would_upload" : kind}`)),
  );
  const shares = KINDS.map((kind) => h("span", { class: `share share-${kind}` }));
  const verdict = h("p", { class: "verdict" }, icon("check"), h("span", {}));
  const extras = h("dl", { class: "extras" });
  const node = h(
    "div",
    { class: "account" },
    h(
      "div",
      { class: "equation" },
      scanned.node,
      sign("="),
      terms[0].node,
      sign("+"),
      terms[1].node,
      sign("+"),
      terms[2].node,
    ),
    h("div", { class: "shares", "aria-hidden": "true" }, ...shares),
    verdict,
    extras,
  );
  return {
    node,
    update: (/** @type {Task} */ now) => {
      const counts = [
        now.progress.new_images_uploaded,
        now.progress.duplicate_images_skipped,
        now.progress.failed_files,
      ];
      scanned.update(now.progress.total_files_scanned);
      terms.forEach((term, index) => term.update(counts[index]));
      shares.forEach((share, index) => share.style.setProperty("--share", String(counts[index])));
      drawVerdict(verdict, now.progress.total_files_scanned === counts[0] + counts[1] + counts[2]);
      drawExtras(extras, now);
    },
  };
}

/** @param {string} kind @param {string} word */
function figure(kind, word) {
  const value = h("span", { class: "figure-value", text: "0" });
  return {
    node: h(
      "div",
      { class: `figure figure-${kind}`, "data-count": kind },
      value,
      h("span", { class: "figure-word", text: word }),
    ),
    update: (/** @type {number} */ count) => setText(value, number(count)),
  };
}

/** @param {string} text */
const sign = (text) => h("span", { class: "sign", text });

/** @param {HTMLElement} verdict @param {boolean} closed */
function drawVerdict(verdict, closed) {
  verdict.dataset.closed = String(closed);
  setText(/** @type {Node} */ (verdict.querySelector("span")), t(closed ? "counts.closed" : "counts.open"));
}

/** @param {HTMLElement} place @param {Task} task */
function drawExtras(place, task) {
  const rows = extraRows(task);
  if (place.childElementCount !== rows.length) {
    place.replaceChildren(...rows.map(([word]) => h("div", { class: "extra" }, h("dt", { text: word }), h("dd", {}))));
  }
  rows.forEach(([word, value], index) => {
    setText(/** @type {Node} */ (place.children[index].firstElementChild), word);
    setText(/** @type {Node} */ (place.children[index].lastElementChild), value);
  });
}

/** @param {Task} task @returns {[string, string][]} */
function extraRows({ progress }) {
  const created = `${number(progress.new_patients_created)} ${t("counts.patients_new")}`;
  const known = `${number(progress.existing_patients_skipped)} ${t("counts.patients_known")}`;
  return [
    [t("counts.patients"), `${number(progress.total_patients_found)} = ${created} + ${known}`],
    [t("counts.frames"), number(progress.frames_uploaded)],
    [t("counts.bytes"), progress.bytes_uploaded === undefined ? "–" : byteSize(progress.bytes_uploaded)],
    [t("counts.held"), number(progress.held_files)],
    [t("counts.no_pixel"), number(progress.no_pixel_files)],
    [t("counts.ignored"), number(progress.ignored_files)],
  ];
}
