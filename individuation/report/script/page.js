// The rest of the page: light and dark, reasons that open when they are gone to, and everything open on paper.

const root = document.documentElement;
const theme = document.getElementById("theme");
const darkWanted = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : darkWanted.matches);
const tellTheme = () => theme.setAttribute("aria-pressed", String(isDark()));

theme.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  tellTheme();
});
darkWanted.addEventListener("change", tellTheme);
tellTheme();

function openTarget() {
  const target = location.hash ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
  for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  if (target?.tagName === "DETAILS") {
    target.querySelector("summary").focus({ preventScroll: true });
    target.scrollIntoView({ block: "start" });
  }
}

addEventListener("hashchange", openTarget);
openTarget();

// A table is a stop for the Tab key only where it is to be scrolled.
function stopAtWideTables() {
  for (const frame of document.querySelectorAll("div.table")) frame.tabIndex = frame.scrollWidth > frame.clientWidth ? 0 : -1;
}

addEventListener("resize", stopAtWideTables);
document.addEventListener("toggle", stopAtWideTables, true);
stopAtWideTables();

let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open]):not(.keys)")];
  for (const node of opened) node.open = true;
});
addEventListener("afterprint", () => {
  for (const node of opened) node.open = false;
});
