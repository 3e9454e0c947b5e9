/** Elements without markup strings: whatever a file is called, it arrives on the page as text. */

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "required", "open", "htmlFor", "textContent"]);

/** @typedef {Node|string|null|undefined|false} Child */

/**
 * @param {string} tag
 * @param {Record<string, any>} [props] attributes; `on...` are listeners, `class` and `text` as they say
 * @param {...(Child|Child[])} children
 * @returns {any} the element (its class depends on the tag)
 */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) setProp(node, name, value);
  node.append(...present(children));
  return node;
}

/** @param {HTMLElement} node @param {string} name @param {any} value */
function setProp(node, name, value) {
  if (value === undefined || value === null || value === false) return;
  if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
  else if (name === "class") node.className = value;
  else if (name === "text") node.textContent = value;
  else if (PROPERTIES.has(name)) Reflect.set(node, name, value);
  else node.setAttribute(name, value === true ? "" : String(value));
}

/** @param {(Child|Child[])[]} children @returns {(Node|string)[]} */
function present(children) {
  return /** @type {(Node|string)[]} */ (children.flat().filter((child) => child || child === ""));
}

/** @param {string} name of a symbol in icons.svg */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `static/icons.svg#${name}`);
  svg.append(use);
  return svg;
}

/**
 * Only if it differs, so that a live page leaves selections and screen readers alone.
 * @param {Node} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** @param {Element} node @param {string} name @param {string|number|null} value null takes it away */
export function setAttribute(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, String(value));
}

/**
 * Makes the children of `container` follow `items`: known ones are updated in place and keep their focus.
 *
 * @template T
 * @param {HTMLElement} container
 * @param {T[]} items
 * @param {(item: T) => string} keyOf
 * @param {(item: T) => import("./types.js").Part} make
 */
export function follow(container, items, keyOf, make) {
  const known = followed.get(container) ?? new Map();
  const next = new Map(items.map((item) => [keyOf(item), known.get(keyOf(item)) ?? make(item)]));
  for (const [key, part] of known) if (!next.has(key)) part.node.remove();
  let place = container.firstElementChild;
  for (const item of items) {
    const part = next.get(keyOf(item));
    part.update(item);
    if (place && part.node === place) place = place.nextElementSibling;
    else container.insertBefore(part.node, place);
  }
  followed.set(container, next);
}

/** @type {WeakMap<HTMLElement, Map<string, import("./types.js").Part>>} */
const followed = new WeakMap();

/** @param {string} id */
export function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/** A number that is unique on this page, for ids that join labels and fields. @param {string} stem */
export function uniqueId(stem) {
  counter += 1;
  return `${stem}-${counter}`;
}
let counter = 0;
