// The facts of stages, by position, as the page carries them; and what can be said of two stages.

document.documentElement.classList.add("scripted");
const data = JSON.parse(document.getElementById("data").textContent);

const nameIn = (column, at) => (column.codes[at] < 0 ? null : column.names[column.codes[at]]);
const stageName = (at) => `${nameIn(data.conversation, at)}/${data.ordinal[at]}`;
const many = (number, noun, plural = `${noun}s`) => `${number.toLocaleString("en")} ${number === 1 ? noun : plural}`;

/** The minds of a stage under a view: how many, and the first of them. */
function mindsOf(view, at) {
  if (view.minds === null) return { count: 0, first: [] };
  const minds = view.minds[at];
  if (Array.isArray(minds)) return { count: minds[0], first: minds.slice(1) };
  return minds < 0 ? { count: 0, first: [] } : { count: 1, first: [minds] };
}

const labelOf = (view, mind) => view.labels[mind] ?? "";

/** Whether two stages are one mind under a view; null where either is in none. */
function oneMind(view, a, b) {
  if (!mindsOf(view, a).count || !mindsOf(view, b).count) return null;
  if (view.up === null) return view.minds[a] === view.minds[b];
  // Where minds share stages, two stages are of one mind if one stands above the other.
  let [above, below] = a < b ? [a, b] : [b, a];
  while (below > above) below = view.up[below];
  return below === above;
}

/** The neighbours on the path between two stages, in pairs, and where their two ways meet; null where they do not. */
function pathBetween(a, b) {
  const steps = [];
  while (a !== b) {
    const later = a > b ? a : b;
    const before = data.previous[later];
    if (before < 0) return null;
    steps.push([before, later]);
    if (a > b) a = before;
    else b = before;
  }
  return { steps: steps.sort((one, other) => one[1] - other[1]), meeting: a };
}

const seamKey = (view, a, b) => `${view} ${a} ${b}`;
const explained = new Map(data.seams.map(([view, a, b, id, said]) => [seamKey(view, a, b), { id, said, a, b }]));

/** Where a view parts two stages: its boundaries on the path between them, with the reasons that the page has. */
function partings(number, a, b) {
  const view = data.views[number];
  const path = pathBetween(a, b);
  const direct = explained.get(seamKey(number, Math.min(a, b), Math.max(a, b)));
  if (path === null) {
    if (direct) return { path, meeting: null, found: [direct] };
    // What keeps two minds apart under a view that goes by attributes is the same wherever they meet.
    const alike = data.seams.find(
      ([of, c, d]) => of === number && view.by === "attributes" && sameMinds(view, [a, b], [c, d]),
    );
    return { path, meeting: null, found: alike ? [explained.get(seamKey(number, alike[1], alike[2]))] : [] };
  }
  const crossed = path.steps.filter(([c, d]) => oneMind(view, c, d) !== true && mindsDiffer(view, c, d));
  const found = crossed.map(([c, d]) => explained.get(seamKey(number, c, d)) ?? { id: null, said: null, a: c, b: d });
  return { path, meeting: path.meeting, found: found.length ? found : direct ? [direct] : [] };
}

const mindsDiffer = (view, a, b) => mindsOf(view, a).count > 0 || mindsOf(view, b).count > 0;

function sameMinds(view, one, other) {
  const [a, b] = one.map((at) => view.minds[at]);
  const [c, d] = other.map((at) => view.minds[at]);
  return (a === c && b === d) || (a === d && b === c);
}
