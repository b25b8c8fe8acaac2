// Light or dark: the system's choice, until the button in the corner says otherwise.
// Loaded in the head, before the first paint, so that the page never flashes.

const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");

function show(theme) {
  root.dataset.theme = theme ?? (dark.matches ? "dark" : "light");
}

show(localStorage.getItem("theme"));
dark.addEventListener("change", () => show(localStorage.getItem("theme")));

addEventListener("DOMContentLoaded", () => {
  document.getElementById("theme").addEventListener("click", () => {
    const theme = root.dataset.theme === "dark" ? "light" : "dark";
    localStorage.setItem("theme", theme);
    show(theme);
  });
});
