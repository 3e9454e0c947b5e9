/** Which months are done? Year by year at a glance, and every month with its figures. */

import { listMonths } from "../api.js";
import { h, icon } from "../dom.js";
import { clock, number, shortMoment } from "../format.js";
import { t, tOr } from "../i18n.js";
import { fill } from "../notify.js";
import { badge, codeTitle, dataTable, pageHead, section } from "../parts/pieces.js";
import { linkTo, taskLink } from "../router.js";

/** @typedef {import("../types.js").Month} Month */

const TONES = { done: "good", partial: "warning", running: "active", waiting: "outline", not_imported: "quiet" };
const STATES = /** @type {const} */ (["done", "partial", "running", "waiting", "not_imported"]);

/** @returns {import("../types.js").View} */
export function monthsView() {
  const place = h("div", {});
  const stop = new AbortController();
  void fill(place, async () => monthNodes(await listMonths(stop.signal)));
  return {
    title: t("months.title"),
    node: h("div", { class: "page" }, pageHead(t("months.title")), place),
    stop: () => stop.abort(),
  };
}

/** @param {{months: Month[], counted_at: string}} answer @returns {Node[]} */
function monthNodes({ months, counted_at: countedAt }) {
  const named = months.filter((month) => month.month !== null);
  if (!months.length) return [h("p", { class: "card empty", text: t("months.empty") })];
  const done = named.filter((month) => month.state === "done").length;
  const lead = h(
    "p",
    { class: "months-lead" },
    h("strong", { text: t("months.lead", { done: number(done), total: number(named.length) }) }),
    h("span", { class: "quiet", text: t("months.counted", { time: clock(countedAt) }) }),
  );
  return [
    lead,
    section(t("months.board"), [h("div", { class: "card" }, ...years(named), legend())]),
    monthTable(months),
  ];
}

/** @param {Month[]} months */
function years(months) {
  const byYear = Map.groupBy ? Map.groupBy(months, yearOf) : grouped(months);
  return [...byYear].map(([year, ofYear]) =>
    h(
      "div",
      { class: "year" },
      h("h3", { class: "year-name", text: t("months.year", { year }) }),
      h("ol", { class: "year-months" }, ...Array.from({ length: 12 }, (_, index) => cell(year, index + 1, ofYear))),
    ),
  );
}

/** @param {Month} month */
const yearOf = (month) => String(month.month).slice(0, 4);

/** @param {Month[]} months @returns {Map<string, Month[]>} */
function grouped(months) {
  const found = new Map();
  for (const month of months) found.set(yearOf(month), [...(found.get(yearOf(month)) ?? []), month]);
  return found;
}

/** @param {string} year @param {number} index @param {Month[]} months */
function cell(year, index, months) {
  const name = `${year}-${String(index).padStart(2, "0")}`;
  const month = months.find((candidate) => candidate.month === name);
  if (!month)
    return h(
      "li",
      { class: "month-cell month-none" },
      h("span", { "aria-hidden": "true", text: String(index) }),
      h("span", { class: "visually-hidden", text: t("months.cell_none", { month: name }) }),
    );
  const words = t("months.cell", { month: name, state: stateWord(month), files: number(month.files) });
  return h(
    "li",
    { class: `month-cell month-${month.state}` },
    h(
      "a",
      { href: monthLink(month), "aria-label": words, title: words },
      h("span", { class: "month-number", text: String(index) }),
      stateIcon(month.state),
      h("span", { class: "month-files", text: untouched(month) ? "" : number(month.files) }),
    ),
  );
}

/** @param {Month} month */
const monthLink = (month) =>
  month.last_task_id ? taskLink(month.last_task_id) : linkTo(["import"], { path: month.source_paths[0] });

/** @param {Month} month */
const stateWord = (month) => tOr(`month_state.${month.state}`, month.state);

/** Colour is never the only sign. @param {string} state */
function stateIcon(state) {
  const names = { done: "check", partial: "warning", running: "play", waiting: "pause" };
  const name = Reflect.get(names, state);
  return name ? icon(name) : h("span", { class: "month-dash", "aria-hidden": "true", text: "–" });
}

function legend() {
  const items = STATES.map((state) =>
    h("li", {}, h("span", { class: `legend-sign month-${state}` }, stateIcon(state)), t(`month_state.${state}`)),
  );
  return h("ul", { class: "legend", "aria-label": t("months.legend") }, ...items);
}

/** @param {Month[]} months */
function monthTable(months) {
  const table = dataTable(t("months.table"), [
    { title: t("months.month"), kind: "lead" },
    { title: t("months.state"), kind: "state" },
    ...["files", "imported", "failed", "held", "no_pixel"].map((name) => ({
      title: t(`months.${name}`),
      kind: "number",
    })),
    { title: t("months.reasons"), kind: "reasons" },
    { title: t("months.last"), kind: "when" },
    { title: t("months.actions"), kind: "acts" },
  ]);
  const draw = (/** @type {boolean} */ openOnly) =>
    table.body.replaceChildren(
      ...months.filter((month) => !openOnly || month.state !== "done").map((month) => table.row(monthCells(month))),
    );
  draw(false);
  return section(t("months.table"), [h("div", { class: "card card-flush" }, table.node)], [filterButtons(draw)]);
}

/** @param {(openOnly: boolean) => void} draw */
function filterButtons(draw) {
  const buttons = ["all", "open"].map((name) =>
    h("button", {
      type: "button",
      class: "segment",
      "aria-pressed": String(name === "all"),
      text: t(`months.filter_${name}`),
    }),
  );
  buttons.forEach((button, index) =>
    button.addEventListener("click", () => {
      buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      draw(index === 1);
    }),
  );
  return h("div", { class: "segments", role: "group", "aria-label": t("files.filter") }, ...buttons);
}

/** @param {Month} month */
function monthCells(month) {
  const name = month.month ?? t("months.unknown_month");
  const count = (/** @type {number} */ value) => (untouched(month) ? "–" : number(value));
  const failed =
    month.failed > month.no_pixel ? h("span", { class: "is-bad", text: number(month.failed) }) : count(month.failed);
  return [
    h(
      "div",
      {},
      h("strong", { class: "month-name", text: name }),
      month.on_disk === false && h("span", { class: "row-note", text: t("months.gone") }),
    ),
    badge(stateWord(month), Reflect.get(TONES, month.state) ?? "quiet"),
    count(month.files),
    count(month.imported),
    failed,
    count(month.held),
    count(month.no_pixel),
    reasons(month),
    shortMoment(month.last_imported_at),
    monthActions(month),
  ];
}

/** Its files are not counted yet, which is not the same as none. @param {Month} month */
const untouched = (month) => month.state === "not_imported" && month.files === 0;

/** @param {Month} month */
function reasons(month) {
  const known = month.by_code.filter((row) => !["uploaded", "uploaded_renamed", "duplicate"].includes(row.code));
  return known.length ? known.map((row) => `${codeTitle(row.code)} ${number(row.files)}`).join(" · ") : "–";
}

/** @param {Month} month */
function monthActions(month) {
  const mayImport =
    month.on_disk !== false && month.source_paths.length > 0 && !["running", "waiting", "done"].includes(month.state);
  const word = t(month.state === "not_imported" ? "months.import" : "months.again");
  return h(
    "span",
    { class: "row-actions" },
    mayImport
      ? h("a", { class: "text-link", href: linkTo(["import"], { path: month.source_paths[0] }), text: word })
      : null,
    month.last_task_id
      ? h("a", { class: "text-link", href: taskLink(month.last_task_id), text: t("months.task") })
      : null,
  );
}
