// Elements. Whatever comes from the trace is set as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function make(name, attributes = {}, ...content) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...content.filter((part) => part !== null && part !== undefined));
  return element;
}

function draw(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

// The direction of a name's script must not turn round what stands beside it.
const named = (text) => make("bdi", {}, text);

function chip(mind) {
  const hatch = Math.floor(mind / 7);
  return make("b", { class: `chip c${mind % 7}${hatch ? ` h${((hatch - 1) % 5) + 1}` : ""}` }, `${mind + 1}`);
}

function table(caption, columns, rows) {
  const head = make("tr", {}, ...columns.map((column) => make("th", { scope: "col" }, column)));
  const body = rows.map(([first, ...cells]) =>
    make("tr", {}, make("th", { scope: "row" }, first), ...cells.map((cell) => make("td", {}, ...[cell].flat()))),
  );
  return make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body));
}
