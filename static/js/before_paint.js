// Runs before the first paint, so that the wrong theme or language never flashes up.
(() => {
  const root = document.documentElement;
  try {
    const theme = localStorage.getItem("dicom-import.theme");
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    if (localStorage.getItem("dicom-import.language") === "en") root.lang = "en";
  } catch {
    // storage is forbidden here: the system's theme, and Chinese
  }
})();
