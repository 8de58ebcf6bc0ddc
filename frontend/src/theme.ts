// Runs before the first paint, so that a stored theme does not flash.
try {
  const theme = localStorage.getItem("toril.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be blocked: the system's theme is used.
}
