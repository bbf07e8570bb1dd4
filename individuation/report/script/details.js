// What the panel says: of a stage, of a stretch of stages, and of two stages that were taken.

const details = document.getElementById("details");
const pairPlace = document.getElementById("pair");

function mindCell(view, at) {
  if (view.by === "passes") return "one for each token processed";
  const { count, first } = mindsOf(view, at);
  if (!count) return "no mind";
  const shown = first.flatMap((mind) => [chip(mind), " ", named(labelOf(view, mind)), " "]);
  return count > first.length ? [...shown, `and ${count - first.length} more`] : shown;
}

function linkTold(at) {
  const previous = data.previous[at];
  const own = data.own[at];
  if (own < 0) return previous < 0 ? "none: it is the first" : `transcript, from ${stageName(previous)}`;
  const said = `${nameIn(data.kind, at)}, from ${stageName(own)}`;
  return own === previous ? said : `${said}; transcript, from ${stageName(previous)}`;
}

function factsTold(at) {
  const rows = [
    ["role", nameIn(data.role, at)],
    ["tokens", data.tokens[at] < 0 ? "not recorded" : data.tokens[at].toLocaleString("en")],
    ["part of a turn", data.parts[at] ?? null],
    ["model", nameIn(data.model, at)],
    ["server", nameIn(data.server, at) ?? "not recorded"],
    ["on behalf of", nameIn(data.principal, at)],
    ["link", linkTold(at)],
    ["cache", `${nameIn(data.cache, at)}, ${data.cacheKnown[at] ? "as recorded" : "by the default rule"}`],
    ["edited", data.edited.includes(at) ? "the cache was edited" : null],
    ["drift", data.drift[at] ?? null],
    ["shared prefix", data.shared[at] ?? null],
    ["region", nameIn(data.region, at) ?? "none"],
    ["probabilities", (data.chances[at] ?? []).map(([region, p]) => `${region} ${p}`).join(", ") || null],
    ...data.probes.map(({ name, unit, values }) => [name, values[at] === undefined ? null : coordinate(values[at], unit)]),
    ["done to the model", (data.done[at] ?? []).join(", ") || null],
    ["holds", beliefs(at, true)],
    ["denies", beliefs(at, false)],
  ];
  return rows.filter(([, value]) => value !== null);
}

const coordinate = (value, unit) => `${String(value).replace("-", "−")}${unit ? ` (${unit})` : ""}`;
const beliefs = (at, holds) =>
  (data.beliefs[at] ?? []).filter(([is]) => is === holds).map(([, what]) => what).join("; ") || null;

const listOf = (rows) =>
  make("dl", {}, ...rows.map(([name, value]) => make("div", {}, make("dt", {}, named(name)), make("dd", {}, named(String(value))))));

function textOf(at) {
  if (!data.texts[at]) return null;
  const [text, length] = data.texts[at];
  const cut = length > text.length ? `… (the first ${text.length.toLocaleString("en")} of ${many(length, "character")})` : "";
  return make("blockquote", { dir: "auto" }, text + cut);
}

function showStage(at, note = null) {
  const views = data.views.map((view) => [named(view.name), mindCell(view, at)]);
  const ends = data.seams.filter(([, , after]) => after === at);
  details.replaceChildren(
    make("h3", {}, named(stageName(at))),
    ...(note ? [make("p", { class: "note" }, note)] : []),
    ...[textOf(at)].filter(Boolean),
    table("Its mind under each view", ["view", "mind"], views),
    listOf(factsTold(at)),
    ...(ends.length
      ? [make("p", {}, "A mind begins here, or ends before: ", ...ends.flatMap((end) => [reasonLink(end[3], data.views[end[0]].name), " "]))]
      : []),
  );
}

function showStretch(first, last) {
  const all = Array.from({ length: last - first + 1 }, (_, i) => first + i);
  const roles = new Map();
  for (const at of all) roles.set(nameIn(data.role, at), (roles.get(nameIn(data.role, at)) ?? 0) + 1);
  const tokens = all.some((at) => data.tokens[at] < 0) ? "not all recorded" : all.reduce((sum, at) => sum + data.tokens[at], 0);
  const views = data.views.map((view) => [named(view.name), stretchCell(view, all)]);
  details.replaceChildren(
    make("h3", {}, named(stageName(first)), ` to ${data.ordinal[last]}`),
    make("p", { class: "note" }, `${many(all.length, "stage")} in one block. The arrow keys go through them one by one.`),
    table("Their minds under each view", ["view", "minds"], views),
    listOf([
      ["roles", [...roles].map(([role, number]) => `${role} ${number}`).join(", ")],
      ["tokens", tokens.toLocaleString("en")],
      ["models", distinct(data.model, all)],
      ["servers", distinct(data.server, all) || "not recorded"],
      ["regions", distinct(data.region, all) || "none"],
    ]),
  );
}

const distinct = (column, all) => {
  const names = [...new Set(all.map((at) => nameIn(column, at)).filter((name) => name !== null))];
  return names.slice(0, 5).join(", ") + (names.length > 5 ? ` and ${names.length - 5} more` : "");
};

function stretchCell(view, all) {
  if (view.by === "passes") return "one for each token processed";
  const minds = [...new Set(all.flatMap((at) => mindsOf(view, at).first))];
  const shown = minds.slice(0, 5).flatMap((mind) => [chip(mind), " "]);
  if (!minds.length) return "no mind";
  return minds.length > 5 ? [...shown, `and ${minds.length - 5} more`] : [...shown, ...(minds.length === 1 ? [named(labelOf(view, minds[0]))] : [])];
}

const reasonLink = (id, said) => make("a", { href: `#${id}`, class: "to-reason" }, named(said));

function showPair(a, b) {
  if (a === null) {
    pairPlace.replaceChildren();
    return;
  }
  if (b === null) {
    const taken = make("p", {}, make("b", { class: "taken" }, "A"), " ", named(stageName(a)), " is taken. Take another stage to compare it with.");
    pairPlace.replaceChildren(make("h3", {}, "One mind?"), taken);
    return;
  }
  const rows = data.views.map((view, number) => [named(view.name), answerOn(view, number, a, b)]);
  const words = ["individuate", "why", ...data.sources, stageName(a), stageName(b)].map(quoted).join(" ");
  const name = (mark, at) => [make("b", { class: "taken" }, mark), " ", named(stageName(at))];
  pairPlace.replaceChildren(
    make("h3", {}, "One mind?"),
    make("p", {}, ...name("A", a), " and ", ...name("B", b)),
    table("Whether A and B are one mind under each view", ["view", "one mind?"], rows),
    make("p", { class: "note" }, "The whole evidence: ", make("code", {}, words)),
  );
}

const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`);

function answerOn(view, number, a, b) {
  if (a === b) return "one and the same stage";
  if (view.by === "passes") return "Two: no forward pass belongs to two stages.";
  const one = oneMind(view, a, b);
  if (one === true) {
    const mind = mindsOf(view, a).first.find((of) => mindsOf(view, b).first.includes(of));
    return ["One", ...(mind === undefined ? [] : [": ", chip(mind), " ", named(labelOf(view, mind))])];
  }
  const { path, found, meeting } = partings(number, a, b);
  const said = [one === null ? `${[a, b].filter((at) => !mindsOf(view, at).count).map(stageName).join(" and ")}: in no mind. ` : "Two. "];
  if (path === null && !found.length) said.push(view.by === "links" ? "No path connects them. " : "");
  if (one === false && meeting !== null && !found.length) said.push("They part after ", named(stageName(meeting)), ".");
  for (const { id, said: reason, a: before, b: after } of found.slice(0, 3)) {
    said.push(named(`${stageName(before)} → ${stageName(after)}`), ": ");
    said.push(id ? reasonLink(id, reason) : "a boundary whose reason this page leaves out", ". ");
  }
  if (found.length > 3) said.push(`And ${many(found.length - 3, "boundary", "boundaries")} more between them.`);
  return said;
}
