/** What the browser keeps. Storage may be forbidden (private windows, policies): then for this page only. */

/** @type {Map<string, string>} */
const forThisPage = new Map();

/** @param {"localStorage"|"sessionStorage"} kind @param {string} name */
function read(kind, name) {
  try {
    return window[kind].getItem(`dicom-import.${name}`);
  } catch {
    return forThisPage.get(name) ?? null;
  }
}

/** @param {"localStorage"|"sessionStorage"} kind @param {string} name @param {string|null} value */
function write(kind, name, value) {
  try {
    if (value === null) window[kind].removeItem(`dicom-import.${name}`);
    else window[kind].setItem(`dicom-import.${name}`, value);
  } catch {
    if (value === null) forThisPage.delete(name);
    else forThisPage.set(name, value);
  }
}

/** Preferences: they stay. @param {string} name */
export const preference = (name) => read("localStorage", name);

/** @param {string} name @param {string|null} value */
export const keepPreference = (name, value) => write("localStorage", name, value);

/** Until this tab is closed; the service key lives here and nowhere else. @param {string} name */
export const remembered = (name) => read("sessionStorage", name);

/** @param {string} name @param {string|null} value */
export const remember = (name, value) => write("sessionStorage", name, value);
