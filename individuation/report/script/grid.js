// The cells of the picture, by conversation and row, so that keys can go from one to the next.

const picture = document.getElementById("picture");

/** A number from an attribute of a shape. */
const at = (node, name) => Number(node.getAttribute(name));

function cellOf(node, row) {
  const [first, last] = node.dataset.at.split("-").map(Number);
  const mind = node.dataset.mind === undefined ? null : Number(node.dataset.mind) - 1;
  const box = { x: at(node, "x"), y: at(node, "y"), width: at(node, "width"), height: at(node, "height") };
  return { node, row, first, last: last ?? first, mind, box };
}

const strips = [...picture.querySelectorAll("g.conversation")].map(() => ({ rows: [], top: Infinity, bottom: -Infinity }));
const rows = [];
const cellFor = new Map();

[...picture.querySelectorAll("g.conversation")].forEach((group, number) => {
  const strip = strips[number];
  for (const node of group.querySelectorAll("g.row")) {
    const view = node.dataset.view === undefined ? null : Number(node.dataset.view);
    const row = { strip, number: rows.length, view, name: view === null ? node.dataset.row : data.views[view].name, cells: [] };
    row.cells = [...node.querySelectorAll("rect[data-at]")].map((rect) => cellOf(rect, row));
    if (!row.cells.length) continue;
    for (const cell of row.cells) {
      cellFor.set(cell.node, cell);
      strip.top = Math.min(strip.top, cell.box.y);
      strip.bottom = Math.max(strip.bottom, cell.box.y + cell.box.height);
    }
    strip.rows.push(row);
    rows.push(row);
  }
  const stages = strip.rows.flatMap((row) => row.cells.flatMap((cell) => [cell.first, cell.last]));
  strip.first = stages.reduce((least, stage) => Math.min(least, stage), Infinity);
  strip.last = stages.reduce((most, stage) => Math.max(most, stage), -1);
});

const filled = strips.filter((strip) => strip.rows.length);

/** The cell of a stage in a row: where several lie over one another, one that has a mind. */
function cellIn(row, stage) {
  const holding = row.cells.filter((cell) => cell.first <= stage && stage <= cell.last);
  return holding.find((cell) => cell.mind !== null) ?? holding[0] ?? null;
}

/** The row of another conversation that stands for the same as this one. */
const alike = (strip, row) => strip.rows.find((other) => other.name === row.name) ?? strip.rows[0];

/** Where a key leads from a stage in a row: a row and a stage, or null for nowhere. */
function whither(key, shift, row, stage) {
  const { strip } = row;
  const place = filled.indexOf(strip);
  const neighbour = (step) => filled[place + step];
  switch (key) {
    case "ArrowRight":
    case "ArrowLeft": {
      const step = key === "ArrowRight" ? 1 : -1;
      if (shift) return { row, stage: nextChange(row, stage, step) };
      if (strip.first <= stage + step && stage + step <= strip.last) return { row, stage: stage + step };
      const other = neighbour(step);
      return other ? { row: alike(other, row), stage: step > 0 ? other.first : other.last } : null;
    }
    case "ArrowDown":
    case "ArrowUp": {
      const step = key === "ArrowDown" ? 1 : -1;
      const next = strip.rows[strip.rows.indexOf(row) + step];
      if (next) return { row: next, stage };
      const other = neighbour(step);
      return other ? { row: step > 0 ? other.rows[0] : other.rows.at(-1), stage: other.first } : null;
    }
    case "Home":
      return { row, stage: strip.first };
    case "End":
      return { row, stage: strip.last };
    case "PageDown":
    case "PageUp": {
      const other = neighbour(key === "PageDown" ? 1 : -1);
      return other ? { row: alike(other, row), stage: other.first } : null;
    }
    default:
      return null;
  }
}

/** The next stage of a conversation, one way or the other, at which the mind of a row is another. */
function nextChange(row, stage, step) {
  const { strip } = row;
  const same = (a, b) => {
    if (row.view === null) return cellIn(row, a) === cellIn(row, b);
    const view = data.views[row.view];
    return oneMind(view, a, b) ?? mindsOf(view, a).count === mindsOf(view, b).count;
  };
  let found = stage;
  if (step > 0) {
    do found += 1;
    while (found <= strip.last && same(found - 1, found));
    return Math.min(found, strip.last);
  }
  do found -= 1;
  while (found > strip.first && same(found - 1, found));
  return Math.max(found, strip.first);
}
