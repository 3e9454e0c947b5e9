/** The contact sheet: every converted picture with its window and transfer syntax, to be looked through. */

import { h } from "../dom.js";
import { splitPath, syntaxName, windowWords } from "../format.js";
import { t, tOr } from "../i18n.js";
import { filePages } from "../parts/file_pages.js";
import { codeTitle, outcomeBadge } from "../parts/pieces.js";
import { openViewer, pictureAlt } from "../parts/viewer.js";
import { Thumbnails } from "../thumbnails.js";

/** @typedef {import("../types.js").ReportRow} ReportRow */

const SIZE = 384;
/** Nothing to ask for: these files failed because no picture could be made of them. */
const NEVER_RENDERED = new Set([
  "unreadable_file",
  "empty_file",
  "moved_outside_roots",
  "file_too_large",
  "not_dicom",
  "not_an_image",
  "truncated_file",
  "no_pixel_data",
  "missing_attribute",
  "unsupported_image",
  "unsupported_transfer_syntax",
  "too_many_frames",
  "pixel_decode_failed",
  "truncated_pixel_data",
  "render_timeout",
  "render_crashed",
  "render_out_of_memory",
]);

/**
 * @param {import("../types.js").Task} task
 * @param {import("../router.js").Route} route
 * @returns {import("./task.js").Section}
 */
export function picturesSection(task, route) {
  const thumbnails = new Thumbnails();
  const sheet = h("ul", { class: "sheet" });
  /** @type {ReportRow[]} */
  let rows = [];
  const shelf = {
    node: sheet,
    add: (/** @type {ReportRow[]} */ more) => {
      rows.push(...more);
      sheet.append(
        ...more.map((row) =>
          frameOf(task.task_id, row, thumbnails, () => openViewer(task.task_id, rows, rows.indexOf(row))),
        ),
      );
    },
    clear: () => {
      rows = [];
      thumbnails.clear();
      sheet.replaceChildren();
    },
  };
  const pages = filePages(task, "pictures", route.query, shelf);
  const note = h("p", { class: "quiet sheet-note", text: t("files.picture_note") });
  return {
    node: h("section", { "aria-label": t("task.pictures") }, note, pages.node),
    stop: () => {
      pages.stop();
      thumbnails.clear();
    },
  };
}

/** @param {string} taskId @param {ReportRow} row @param {Thumbnails} thumbnails @param {() => void} open */
function frameOf(taskId, row, thumbnails, open) {
  const image = h("img", { class: "frame-picture", alt: pictureAlt(row), hidden: true });
  const waiting = h("span", { class: "frame-wait", "aria-hidden": "true" });
  const stage = h("span", { class: "frame-stage" }, image, waiting);
  const badge =
    row.outcome === "uploaded" || row.outcome === "would_upload"
      ? null
      : h("span", { class: "frame-badge" }, outcomeBadge(row));
  const button = h(
    "button",
    { type: "button", class: "frame", "data-number": row.number, onclick: open },
    stage,
    badge,
    h("span", { class: "frame-words" }, ...captions(row)),
  );
  const none = () =>
    waiting.replaceWith(
      h(
        "span",
        { class: "frame-none" },
        h("span", { text: t("files.no_picture") }),
        h("span", { class: "frame-why", text: row.outcome === "failed" ? codeTitle(row.code) : "" }),
      ),
    );
  if (NEVER_RENDERED.has(row.code)) none();
  else
    thumbnails.add(stage, {
      taskId,
      number: row.number,
      size: SIZE,
      show: (address) => {
        image.src = address;
        image.hidden = false;
        waiting.remove();
      },
      fail: none,
    });
  return h("li", {}, button);
}

/** @param {ReportRow} row */
function captions(row) {
  const source =
    row.window_source && row.window_source !== "voi_lut"
      ? ` · ${tOr(`files.w_${row.window_source}`, row.window_source)}`
      : "";
  const frames = row.frames_total > 1 ? ` · ${t("files.frames", { n: row.frames_total })}` : "";
  return [
    h("span", { class: "frame-patient", text: row.patient_id ?? "–" }),
    h("span", { class: "frame-file", title: row.source_path, text: splitPath(row.source_path)[1] + frames }),
    h("span", { class: "frame-fact", text: `${windowWords(row)}${source}` }),
    h("span", { class: "frame-fact", text: syntaxName(row.transfer_syntax) }),
  ];
}
