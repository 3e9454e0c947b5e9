/** The page of an unknown address, with a link back. */

import { h } from "../dom.js";
import { t } from "../i18n.js";
import { pageHead } from "../parts/pieces.js";
import { linkTo } from "../router.js";

/** @returns {import("../types.js").View} */
export function notFoundView() {
  const home = h("a", { class: "text-link", href: linkTo([]), text: t("not_found.home") });
  const line = h("p", { class: "empty-line" }, t("not_found.text"), " ", home);
  return { title: t("not_found.title"), node: h("div", { class: "page" }, pageHead(t("not_found.title")), line) };
}
