// Nearer and farther: the picture grows in a frame that scrolls, around what is pointed at.

const canvas = document.getElementById("canvas");
const zoomTold = document.getElementById("zoom");
const NATURAL = Number(picture.dataset.width);
const LEAST_WIDTH = 640;
const WIDEST_AT_ONCE = 960;
const STEP = 1.25;
const FARTHEST = 0.5;
const NEAREST = 16;

let zoom = 1;

/** The width at first: as wide as there is room, but for pictures that are to be scrolled. */
const widthAtFirst = () => (NATURAL > WIDEST_AT_ONCE ? NATURAL : Math.min(NATURAL, Math.max(canvas.clientWidth, LEAST_WIDTH)));

/** Scale the picture; `x` and `y` are the place in the frame, in pixels, that stays where it is. */
function setZoom(wanted, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  const whole = widthAtFirst();
  const now = Math.min(Math.max(wanted, Math.min(FARTHEST, canvas.clientWidth / whole)), NEAREST);
  const before = picture.getBoundingClientRect().width;
  const [left, top] = [canvas.scrollLeft + x, canvas.scrollTop + y];
  zoom = Math.abs(now - 1) < 0.02 ? 1 : now;
  picture.style.width = zoom === 1 && whole !== NATURAL ? "" : `${whole * zoom}px`;
  picture.classList.toggle("zoomed", zoom !== 1);
  canvas.classList.toggle("zoomed", zoom > 1);
  const grown = picture.getBoundingClientRect().width / before;
  canvas.scrollLeft = left * grown - x;
  canvas.scrollTop = top * grown - y;
  zoomTold.textContent = `${Math.round(zoom * 100)} %`;
}

function resetZoom() {
  setZoom(1);
  canvas.scrollLeft = 0;
  canvas.scrollTop = 0;
}

document.getElementById("nearer").addEventListener("click", () => setZoom(zoom * STEP));
document.getElementById("farther").addEventListener("click", () => setZoom(zoom / STEP));
document.getElementById("whole").addEventListener("click", resetZoom);

canvas.addEventListener(
  "wheel",
  (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const frame = canvas.getBoundingClientRect();
    setZoom(zoom * Math.exp(-event.deltaY / 400), event.clientX - frame.left, event.clientY - frame.top);
  },
  { passive: false },
);

document.querySelector("figure").addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "+" || event.key === "=") setZoom(zoom * STEP);
  else if (event.key === "-" || event.key === "−") setZoom(zoom / STEP);
  else if (event.key === "0") resetZoom();
  else return;
  event.preventDefault();
});

// What names the rows stays in sight when the picture is scrolled away under it.
const gutter = draw("g", { id: "gutter", "aria-hidden": "true", "pointer-events": "none" });
const labels = [...picture.querySelectorAll("g.row > text:first-of-type, g.links > text:first-of-type")].filter(
  (text) => text.getAttribute("text-anchor") === "end",
);
const [, topOfPicture, , heightOfPicture] = picture.getAttribute("viewBox").split(" ").map(Number);
const topOfLegend = picture.querySelector("g.legend")?.getBBox().y ?? topOfPicture + heightOfPicture;
const gutterWidth = Math.max(...labels.map((text) => Number(text.getAttribute("x"))), 0) + 5;
gutter.append(draw("rect", { x: 0, y: topOfPicture, width: gutterWidth, height: topOfLegend - topOfPicture - 4, class: "gutter" }));
gutter.append(...labels.map((text) => text.cloneNode(true)));

canvas.addEventListener("scroll", () => {
  const away = (canvas.scrollLeft * NATURAL) / picture.getBoundingClientRect().width;
  if (away > 1) {
    if (!gutter.isConnected) picture.append(gutter);
    gutter.setAttribute("transform", `translate(${away} 0)`);
  } else gutter.remove();
});

// Dragging moves the picture; a drag is no click.
let drag = null;
let dragged = false;

canvas.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || event.pointerType === "touch") return;
  drag = { x: event.clientX, y: event.clientY, left: canvas.scrollLeft, top: canvas.scrollTop };
  dragged = false;
});

canvas.addEventListener("pointermove", (event) => {
  if (drag === null) return;
  const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
  if (!dragged && Math.hypot(dx, dy) < 5) return;
  if (!dragged) canvas.setPointerCapture(event.pointerId);
  dragged = true;
  canvas.classList.add("dragging");
  canvas.scrollLeft = drag.left - dx;
  canvas.scrollTop = drag.top - dy;
});

for (const end of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(end, () => {
    drag = null;
    canvas.classList.remove("dragging");
  });
}
