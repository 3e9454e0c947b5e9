/** One picture large, with everything that is known of its file; arrow keys leaf through, Esc closes. */

import { ApiError, isAbort, picture } from "../api.js";
import { openPanel } from "../dialogs.js";
import { h, icon, setText } from "../dom.js";
import { number, splitPath, syntaxName, windowWords } from "../format.js";
import { hintFor, t, tOr } from "../i18n.js";
import { codeTitle, factList, outcomeBadge, serviceWords } from "./pieces.js";

/** @typedef {import("../types.js").ReportRow} ReportRow */

/** Codes that say no more than the outcome itself. */
const PLAIN = new Set(["uploaded", "would_upload", "duplicate"]);

/** @param {ReportRow} row */
export const pictureAlt = (row) =>
  t("viewer.alt", { patient: row.patient_id ?? "–", name: splitPath(row.source_path)[1] });

/** @param {string} taskId @param {ReportRow[]} rows @param {number} start index of the one to show first */
export function openViewer(taskId, rows, start) {
  const panel = openPanel(t("viewer.title"), "viewer");
  const stage = pictureStage(taskId);
  const facts = h("div", { class: "viewer-facts" });
  const position = h("span", { class: "quiet", role: "status" });
  let at = start;
  const show = (/** @type {number} */ index) => {
    at = Math.min(rows.length - 1, Math.max(0, index));
    setText(panel.heading, splitPath(rows[at].source_path)[1]);
    setText(position, t("viewer.position", { n: number(at + 1), total: number(rows.length) }));
    facts.replaceChildren(...factNodes(rows[at]));
    stage.show(rows[at]);
  };
  panel.tools.append(
    position,
    turn("left", "viewer.previous", () => show(at - 1)),
    turn("right", "viewer.next", () => show(at + 1)),
  );
  panel.body.append(stage.node, facts);
  panel.dialog.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "ArrowLeft") show(at - 1);
    if (event.key === "ArrowRight") show(at + 1);
  });
  panel.dialog.addEventListener("close", () => stage.stop());
  show(start);
}

/** @param {string} name @param {string} key @param {() => void} act */
const turn = (name, key, act) =>
  h("button", { type: "button", class: "tool tool-icon", "aria-label": t(key), onclick: act }, icon(name));

/** The picture itself, and its frames. @param {string} taskId */
function pictureStage(taskId) {
  const image = h("img", { class: "viewer-picture", alt: "", hidden: true });
  const note = h("p", { class: "viewer-note", role: "status" });
  const source = h("span", { class: "quiet" });
  const count = h("span", {});
  const frames = h(
    "div",
    { class: "viewer-frames", hidden: true },
    turn("left", "viewer.previous_frame", () => load(frame - 1)),
    count,
    turn("right", "viewer.next_frame", () => load(frame + 1)),
  );
  let stop = new AbortController();
  let frame = 1;
  /** @type {ReportRow} */
  let row;
  const free = () => {
    stop.abort();
    stop = new AbortController();
    if (image.src) URL.revokeObjectURL(image.src);
    image.hidden = true;
    image.removeAttribute("src");
  };
  const load = async (/** @type {number} */ wanted) => {
    free();
    frame = Math.min(Math.max(1, wanted), Math.max(1, row.frames_total));
    setText(count, t("viewer.frame", { n: number(frame), total: number(row.frames_total) }));
    setText(note, t("files.loading_picture"));
    setText(source, "");
    try {
      const got = await picture(taskId, row.number, {
        frame: row.frames_total > 1 ? frame : undefined,
        signal: stop.signal,
      });
      image.src = URL.createObjectURL(got.blob);
      image.alt = pictureAlt(row);
      image.hidden = false;
      setText(note, "");
      setText(source, got.source ? tOr(`viewer.${got.source}`, got.source) : "");
    } catch (error) {
      if (isAbort(error)) return;
      if (!(error instanceof ApiError)) throw error;
      setText(note, error.detail || t("files.no_picture"));
    }
  };
  return {
    node: h("div", { class: "viewer-stage" }, image, note, h("div", { class: "viewer-under" }, frames, source)),
    show: (/** @type {ReportRow} */ next) => {
      row = next;
      frames.hidden = row.frames_total < 2;
      void load(1);
    },
    stop: free,
  };
}

/** @param {ReportRow} row */
function factNodes(row) {
  const source = row.window_source ? tOr(`files.w_${row.window_source}`, row.window_source) : null;
  const list = factList([
    [t("files.patient"), row.patient_id],
    [t("files.month"), row.month],
    [t("viewer.result"), h("span", {}, outcomeBadge(row), " ", PLAIN.has(row.code) ? "" : codeTitle(row.code))],
    [t("viewer.detail"), row.detail && serviceWords("span", "", row.detail)],
    [t("outcomes.todo"), row.outcome === "failed" ? hintFor(row) : null],
    [t("files.window"), source ? `${windowWords(row)}（${source}）`.replace("–（", "（") : t("files.no_window")],
    [t("files.syntax"), row.transfer_syntax && `${syntaxName(row.transfer_syntax)}`],
    [t("viewer.modality"), row.modality],
    [t("viewer.exam"), row.exam_type && serviceWords("span", "", row.exam_type)],
    [t("viewer.name"), row.upload_filename],
    [t("viewer.image"), row.image_file_id === null ? null : String(row.image_file_id)],
    [t("viewer.uid"), row.sop_instance_uid && h("code", { text: row.sop_instance_uid })],
    [t("viewer.path"), h("code", { text: row.source_path })],
  ]);
  const warnings = row.warnings.map((warning) =>
    h("div", { class: "notice notice-warning" }, icon("warning"), serviceWords("p", "notice-text", warning.message)),
  );
  return [h("h3", { class: "section-title", text: t("viewer.details") }), ...warnings, list];
}
