// Pointing, keys and marks: which stage is meant, whose mind it is, and which two stages were taken.

const marks = draw("g", { id: "marks", "pointer-events": "none", "aria-hidden": "true" });
const veils = draw("g", {});
const cursor = draw("g", {});
const taken = draw("g", {});
marks.append(veils, cursor, taken);
picture.append(marks);

let current = null;
let pair = [null, null];
let lit = null;

const mark = (layer, box, look, grow = 0) =>
  layer.append(
    draw("rect", {
      x: box.x - grow, y: box.y - grow, width: Math.max(box.width + 2 * grow, 0.5), height: box.height + 2 * grow, ...look,
    }),
  );

/** Cells side by side as one. */
function stretches(cells) {
  const found = [];
  for (const cell of cells) {
    const before = found.at(-1);
    if (before && before.y === cell.box.y && before.height === cell.box.height && cell.box.x - (before.x + before.width) < 3 && cell.box.x >= before.x) {
      before.width = cell.box.x + cell.box.width - before.x;
    } else found.push({ ...cell.box });
  }
  return found;
}

/** Show all stages of one mind: all others of its view step back. */
function light(view, mind) {
  const key = mind === null || view === null ? null : `${view} ${mind}`;
  if (key === lit) return;
  lit = key;
  veils.replaceChildren();
  picture.querySelectorAll("g.mind.lit").forEach((entry) => entry.classList.remove("lit"));
  if (key === null) return;
  for (const row of rows.filter((row) => row.view === view)) {
    // Where minds lie over one another their cells stand one below the other.
    const sorted = [...row.cells].sort((a, b) => a.box.y - b.box.y || a.box.x - b.box.x);
    for (const box of stretches(sorted.filter((cell) => cell.mind !== mind))) mark(veils, box, { class: "veil" }, 1);
    for (const box of stretches(sorted.filter((cell) => cell.mind === mind))) mark(veils, box, { class: "lit" }, 1);
  }
  const entry = picture.querySelector(`g.mind[data-view="${view}"][data-mind="${mind + 1}"]`);
  if (entry) entry.classList.add("lit");
}

/** The column of a stage through its conversation. Within a stretch of stages drawn as one, its part of it. */
function column(stage) {
  const strip = filled.find((of) => of.first <= stage && stage <= of.last);
  if (!strip) return null;
  const cells = strip.rows.map((row) => cellIn(row, stage)).filter(Boolean);
  const finest = cells.reduce((least, cell) => (cell.last - cell.first < least.last - least.first ? cell : least));
  const part = finest.box.width / (finest.last - finest.first + 1);
  const x = finest.box.x + part * (stage - finest.first);
  return { x, y: strip.top, width: part, height: strip.bottom - strip.top };
}

function showCursor(cell, stage, focused) {
  cursor.replaceChildren();
  const box = column(stage);
  if (box && cell.first === cell.last) mark(cursor, box, { class: "cursor" }, 1.5);
  if (focused) {
    mark(cursor, cell.box, { class: "ring outer" }, 2.5);
    mark(cursor, cell.box, { class: "ring inner" }, 2.5);
    if (cell.first !== cell.last && box) mark(cursor, { ...box, y: cell.box.y, height: cell.box.height }, { class: "cursor" });
  }
}

function showTaken() {
  taken.replaceChildren();
  pair.forEach((stage, number) => {
    const box = stage === null ? null : column(stage);
    if (!box) return;
    mark(taken, box, { class: "taken" }, 3);
    const letter = draw("text", { x: box.x + box.width / 2, y: box.y - 7, "text-anchor": "middle", class: "taken" });
    letter.textContent = "AB"[number];
    taken.append(letter);
  });
}

/** Show what is pointed at: the stage itself where it is known which, else all that its cell stands for. */
function pointAt(cell, stage, focused) {
  const alone = cell.first === cell.last;
  if (alone || focused) showStage(stage, alone ? null : `One of ${many(cell.last - cell.first + 1, "stage")} in this block.`);
  else showStretch(cell.first, cell.last);
  showCursor(cell, stage, focused);
  light(cell.row.view, cell.mind);
}

function told(cell, stage) {
  const mind = cell.row.view === null ? "" : ` ${cell.mind === null ? "no mind" : `mind ${cell.mind + 1}, ${labelOf(data.views[cell.row.view], cell.mind)}`}`;
  return `${stageName(stage)}, ${nameIn(data.role, stage)}. ${cell.row.name}:${mind || " row"}.`;
}

/** Make a cell the one that has the focus, and the only one that the Tab key comes to. */
function goTo(row, stage, focus = true) {
  const cell = cellIn(row, stage);
  if (cell === null) return;
  if (current) current.cell.node.setAttribute("tabindex", "-1");
  current = { cell, row, stage };
  const { node } = cell;
  node.setAttribute("tabindex", "0");
  node.setAttribute("role", "button");
  node.setAttribute("aria-label", told(cell, stage));
  node.setAttribute("aria-pressed", String(pair.includes(stage)));
  if (!focus) return;
  if (document.activeElement === node) pointAt(cell, stage, true);
  else node.focus({ preventScroll: true });
  intoView(cell, stage);
}

function intoView(cell, stage) {
  const [frame, whole] = [canvas.getBoundingClientRect(), picture.getBoundingClientRect()];
  const scale = whole.width / NATURAL;
  const box = column(stage) ?? cell.box;
  const left = whole.left - frame.left + box.x * scale;
  if (left < 24) canvas.scrollLeft += left - 24 - frame.width / 4;
  else if (left + box.width * scale > frame.width - 24) canvas.scrollLeft += left + box.width * scale - frame.width * 0.75;
  cell.node.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function take(stage) {
  if (pair[0] === null || pair[1] !== null || pair[0] === stage) pair = [pair[0] === stage && pair[1] === null ? null : stage, null];
  else pair = [pair[0], stage];
  showPair(...pair);
  showTaken();
  document.getElementById("panel").scrollTop = 0;
  if (current) current.cell.node.setAttribute("aria-pressed", String(pair.includes(current.stage)));
}

/** The cell that an event is at, and its stage; a dot of a curve stands for its stage in the first row of minds. */
function pointed(event) {
  const node = event.target;
  if (cellFor.has(node)) return { cell: cellFor.get(node), stage: cellFor.get(node).first, dot: false };
  if (node.tagName !== "circle" || node.dataset.at === undefined) return null;
  const stage = Number(node.dataset.at);
  const strip = filled.find((of) => of.first <= stage && stage <= of.last);
  const row = strip?.rows.find((of) => of.view !== null) ?? strip?.rows[0];
  return row ? { cell: cellIn(row, stage), stage, dot: true } : null;
}

picture.addEventListener("pointerover", (event) => {
  const found = pointed(event);
  if (found?.dot) {
    showStage(found.stage);
    showCursor(found.cell, found.stage, false);
  } else if (found) pointAt(found.cell, found.stage, false);
  const entry = event.target.closest("g.mind[data-view]");
  if (entry) light(Number(entry.dataset.view), Number(entry.dataset.mind) - 1);
});

picture.addEventListener("pointerleave", () => {
  light(null, null);
  cursor.replaceChildren();
  if (current && document.activeElement === current.cell.node) pointAt(current.cell, current.stage, true);
});

picture.addEventListener("click", (event) => {
  const found = pointed(event);
  if (!found || dragged) return;
  goTo(found.cell.row, found.stage);
  take(found.stage);
});

picture.addEventListener("focusin", (event) => {
  const cell = cellFor.get(event.target);
  if (cell) pointAt(cell, current?.cell === cell ? current.stage : cell.first, true);
});

picture.addEventListener("focusout", () => {
  cursor.replaceChildren();
  light(null, null);
});

picture.addEventListener("keydown", (event) => {
  if (!current || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Enter" || event.key === " ") take(current.stage);
  else if (event.key === "Escape") {
    pair = [null, null];
    showPair(null, null);
    showTaken();
  } else {
    const to = whither(event.key, event.shiftKey, current.row, current.stage);
    if (to) goTo(to.row, to.stage);
    else if (!["Home", "End", "PageUp", "PageDown"].includes(event.key) && !event.key.startsWith("Arrow")) return;
  }
  event.preventDefault();
});

if (filled.length) {
  const start = filled[0].rows.find((row) => row.view !== null) ?? filled[0].rows[0];
  goTo(start, filled[0].first, false);
}
