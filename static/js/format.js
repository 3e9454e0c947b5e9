/** Numbers, times and names as people read them. */

import { language, locale, t } from "./i18n.js";

/** @param {number} value @param {number} [digits] */
export const number = (value, digits = 0) =>
  new Intl.NumberFormat(locale(), { maximumFractionDigits: digits }).format(value);

/** @param {number} value per second */
export const rate = (value) => number(value, value < 10 ? 1 : 0);

/** @param {number} bytes */
export function byteSize(bytes) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log(bytes) / Math.log(1000)));
  return `${number(bytes / 1000 ** power, power > 0 && bytes / 1000 ** power < 100 ? 1 : 0)} ${units[power]}`;
}

/** @param {number} seconds */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const units = language() === "zh" ? [" 小时", " 分", " 秒"] : [" h", " min", " s"];
  const first = parts.findIndex((part) => part > 0);
  if (first < 0) return seconds > 0 ? `<1${units[2]}` : `0${units[2]}`;
  return parts
    .slice(first, first + 2)
    .map((part, index) => (part || !index ? `${part}${units[first + index]}` : ""))
    .filter(Boolean)
    .join(" ");
}

/** @param {string|null} iso */
export function moment(iso) {
  if (!iso) return "–";
  const style = {
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
    hour: "2-digit",
    minute: "2-digit",
    hourCycle: "h23",
  };
  return new Intl.DateTimeFormat(locale(), /** @type {Intl.DateTimeFormatOptions} */ (style)).format(new Date(iso));
}

/** Month and day are enough if the year is this one. @param {string|null} iso */
export function shortMoment(iso) {
  if (!iso) return "–";
  const time = new Date(iso);
  if (time.getFullYear() !== new Date().getFullYear()) return moment(iso);
  const style = { month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  return new Intl.DateTimeFormat(locale(), /** @type {Intl.DateTimeFormatOptions} */ (style)).format(time);
}

/** @param {string} iso */
export const clock = (iso) =>
  new Intl.DateTimeFormat(locale(), { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" }).format(
    new Date(iso),
  );

/** Folder (with its separator) and last part; Windows paths too. @param {string} path @returns {[string, string]} */
export function splitPath(path) {
  const trimmed = path.length > 1 ? path.replace(/[\\/]+$/, "") : path;
  const cut = Math.max(trimmed.lastIndexOf("/"), trimmed.lastIndexOf("\\")) + 1;
  return cut === 0 || cut === trimmed.length ? ["", trimmed] : [trimmed.slice(0, cut), trimmed.slice(cut)];
}

/** The part of a file's path below the task's own folder. @param {string} path @param {string} source */
export function pathWithin(path, source) {
  const below = path.startsWith(source) ? path.slice(source.length).replace(/^[\\/]+/, "") : "";
  return below || path;
}

/** @param {import("./types.js").ReportRow} row */
export function windowWords(row) {
  if (row.window_source === "voi_lut") return t("files.w_voi_lut");
  if (row.window_center === null || row.window_width === null) return "–";
  return `${number(row.window_center, 2)} / ${number(row.window_width, 2)}`;
}

const SYNTAXES = new Map([
  ["1.2.840.10008.1.2", "Implicit LE"],
  ["1.2.840.10008.1.2.1", "Explicit LE"],
  ["1.2.840.10008.1.2.1.99", "Deflated"],
  ["1.2.840.10008.1.2.2", "Explicit BE"],
  ["1.2.840.10008.1.2.4.50", "JPEG Baseline"],
  ["1.2.840.10008.1.2.4.51", "JPEG Extended"],
  ["1.2.840.10008.1.2.4.57", "JPEG Lossless"],
  ["1.2.840.10008.1.2.4.70", "JPEG Lossless SV1"],
  ["1.2.840.10008.1.2.4.80", "JPEG-LS"],
  ["1.2.840.10008.1.2.4.81", "JPEG-LS Lossy"],
  ["1.2.840.10008.1.2.4.90", "JPEG 2000 Lossless"],
  ["1.2.840.10008.1.2.4.91", "JPEG 2000"],
  ["1.2.840.10008.1.2.4.201", "HTJ2K Lossless"],
  ["1.2.840.10008.1.2.4.203", "HTJ2K"],
  ["1.2.840.10008.1.2.5", "RLE"],
]);

/** @param {string|null} uid */
export const syntaxName = (uid) => (uid ? (SYNTAXES.get(uid) ?? uid) : "–");
