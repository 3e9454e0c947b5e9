/** The current page and its options: everything behind the # of the address, so that back, forward and links work. */

/** @typedef {{parts: string[], query: URLSearchParams}} Route */

/** @returns {Route} */
export function currentRoute() {
  const [path, search] = location.hash.replace(/^#\/?/, "").split("?");
  return { parts: path.split("/").filter(Boolean).map(decodePart), query: new URLSearchParams(search ?? "") };
}

/** @param {string} part */
function decodePart(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** @param {string[]} parts @param {Record<string, string|number|null|undefined>} [query] */
export function linkTo(parts, query = {}) {
  const present = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const search = new URLSearchParams(present.map(([name, value]) => [name, String(value)])).toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${search && `?${search}`}`;
}

/** @param {string} taskId @param {string} [section] @param {Record<string, string|null>} [query] */
export const taskLink = (taskId, section, query) => linkTo(["tasks", taskId, ...(section ? [section] : [])], query);

/** @param {string} link */
export function goTo(link) {
  location.hash = link;
}

/** Another address for the same page, without a new entry in the browser's history. @param {string} link */
export const replaceAddress = (link) => history.replaceState(null, "", link);
