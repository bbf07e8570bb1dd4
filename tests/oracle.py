"""A second, independent statement of the engine's rules: semantics.md sections 3 to 5 as a logic program for clingo.

Tests compare the engine with it on random traces (tests/worlds.py). It is for small traces and shares no code and no
algorithm with the engine: paths, links, effective regions, carried forests, branching and runs are all derived by the
rules in `PROGRAM`. Python only numbers things, tells model identities apart, checks coordinates against ranges, writes
facts and reads the answer back. Traces are taken to be valid.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

import clingo

Key = tuple[str, tuple[tuple[str, object], ...]]

MAX_DRIFTS: tuple[float | None, ...] = (None, 0.01)
"""The values of max_drift that `expected_all` combines; None is no limit."""

_VALUES: dict[str, tuple[object, ...]] = {
    "reconstruction": ("same", "new"),
    "user_turns": ("poised", "intermittent"),
    "recurrence": ("new", "same"),
    "branching": ("one", "overlap", "end", "closest"),
    "unknown_cache": ("carry", "cut"),
    "weights": ("exact", "base"),
    "edits": ("carry", "cut"),
    "outside": ("none", "last"),
    "max_drift": MAX_DRIFTS,
}

READINGS: dict[str, tuple[str, ...]] = {
    "model": ("weights",),
    "physical-instance": (),
    "forward-pass": (),
    "thread": ("branching",),
    "virtual-instance": ("reconstruction", "branching", "unknown_cache", "edits", "max_drift"),
    "instance-persona": (
        "reconstruction",
        "user_turns",
        "recurrence",
        "branching",
        "unknown_cache",
        "edits",
        "outside",
        "max_drift",
    ),
    "model-persona": ("user_turns", "weights", "outside"),
    "abstract-model-persona": ("user_turns", "outside"),
}
"""The readings that each view has; the default of each is the first of its values."""

PROGRAM = r"""
% ---- Paths. S, T, P, Q are stages; C conversations; I, J positions on a path.
stage(S) :- turn(_,_,S).
start(C,0) :- conversation(C), not parent(C,_).
start(C,N) :- at(C,N).
path(C,I,S)   :- parent(C,D), at(C,N), path(D,I,S), I < N.
path(C,N+O,S) :- start(C,N), turn(C,O,S).
earlier(I,T,S) :- turn(C,O,S), start(C,N), path(C,I,T), I < N+O.
p(P,S) :- turn(C,O,S), start(C,N), path(C,N+O-1,P).

key(S,K) :- states_model(S,K).
key(S,K) :- not states_model(S,_), p(P,S), key(P,K).
model(S,M) :- key(S,K), identity(K,M).
server(S,V) :- states_server(S,V).
server(S,V) :- not states_server(S,_), not states_no_server(S), p(P,S), server(P,V).

% ---- Links.
alike(S,T) :- model(S,M), model(T,M).
later_alike(I,S) :- earlier(I,_,S), earlier(J,T,S), J > I, alike(S,T).
q(Q,S) :- earlier(I,Q,S), alike(Q,S), not later_alike(I,S).

other_model(S)    :- p(P,S), not alike(P,S).
server_unknown(S) :- p(P,S), not server(P,_).
server_unknown(S) :- p(P,S), not server(S,_).
same_server(S)    :- p(P,S), server(P,V), server(S,V).
cache(S,X)        :- states_cache(S,X).
silent(S)         :- p(_,S), not states_cache(S,_).
cache(S,rebuilt)  :- silent(S), other_model(S).
cache(S,unknown)  :- silent(S), not other_model(S), server_unknown(S).
cache(S,retained) :- silent(S), not other_model(S), same_server(S).
cache(S,rebuilt)  :- silent(S), not other_model(S), not server_unknown(S), not same_server(S).

kind(retained,attention). kind(transferred,transfer). kind(rebuilt,rebuild). kind(unknown,unknown).
own(P,S,K) :- p(P,S), alike(P,S), cache(S,X), kind(X,K).
own(Q,S,K) :- other_model(S), q(Q,S), cache(S,X), kind(X,K).
predecessor(P,S,K) :- own(P,S,K), p(P,S).
predecessor(P,S,transcript) :- p(P,S), other_model(S).

% ---- Regions. A labelling is (user_turns, outside).
assistant(S) :- role(S,assistant).
inside(S,X,I) :- holds(S,X,I), space_model(X,M), model(S,M).
preceded(S,X,I) :- inside(S,X,I), inside(S,Y,J), (Y,J) < (X,I).
region(S,R) :- assistant(S), states_region(S,R).
region(S,R) :- assistant(S), not states_region(S,_), inside(S,X,I), not preceded(S,X,I), space_region(X,I,R).

up(S,T) :- own(T,S,_).
up(S,T) :- up(S,X), own(T,X,_).

outside(none). outside(last).
placed(S) :- region(S,_).
shadowed(S,T) :- up(S,T), up(S,X), up(X,T), placed(X).
in(O,S,R) :- outside(O), region(S,R).
in(last,S,R) :- assistant(S), not placed(S), up(S,T), region(T,R), not shadowed(S,T).

screened(S,T) :- up(S,X), up(X,T), assistant(X).
met(S,A)   :- stage(S), not assistant(S), assistant(A), up(A,S), not screened(A,S).
above(S,A) :- stage(S), not assistant(S), assistant(A), up(S,A), not screened(S,A).
value(O,A,R) :- in(O,A,R).
value(O,A,nowhere) :- outside(O), assistant(A), not in(O,A,_).
disagree(O,S) :- met(S,A), met(S,B), value(O,A,X), value(O,B,Y), X != Y.

eff(intermittent,O,S,R) :- in(O,S,R).
eff(poised,O,S,R) :- in(O,S,R).
eff(poised,O,S,R) :- met(S,A), in(O,A,R), not disagree(O,S).
eff(poised,O,S,R) :- above(S,A), not met(S,_), in(O,A,R).

user_turns(poised). user_turns(intermittent).
moved(U) :- eff(U,last,S,R), not eff(U,none,S,R).
moved(U) :- eff(U,none,S,R), not eff(U,last,S,R).
% label_as(U,O,W): the labelling (U,O) equals (U,W); one of each kind is worked out.
label_as(U,none,none) :- user_turns(U).
label_as(U,last,last) :- moved(U).
label_as(U,last,none) :- user_turns(U), not moved(U).
labelling(U,W) :- label_as(U,_,W).

% ---- Pooled views.
kin(K,J) :- identity(K,M), identity(J,M).
by_key(K,J)    :- base(K,B), key_is(J,B).
by_name(K,J)   :- base(K,B), not by_key(K,_), name_is(J,B), not later_name(J,B).
later_name(J,B) :- name_is(J,B), name_is(I,B), I < J.
by_digest(K,J) :- base(K,B), not by_key(K,_), not by_name(K,_), digest_is(J,B).
by(K,J) :- by_key(K,J).
by(K,J) :- by_name(K,J).
by(K,J) :- by_digest(K,J).
kin(K,J) :- by(K,J).
kin(J,K) :- by(K,J).
kin(K,J) :- base(K,B), base(J,B), not by(K,_), not by(J,_).
kin(K,J) :- kin(K,I), kin(I,J).
lower_kin(K,J) :- kin(K,J), J < K.
family(K,J) :- kin(K,J), not lower_kin(J,_).

who(exact,M,S) :- model(S,M).
who(base,F,S)  :- key(S,K), family(K,F).
mp(W,U,O,(M,R),S) :- who(W,M,S), eff(U,O,S,R).
amp(M,R) :- space_model(X,M), space_region(X,_,R).
amp(M,R) :- states_region(S,R), model(S,M).
amp(M,R) :- may_be_in(S,R), model(S,M).
amp_count(N) :- N = #count { M,R : amp(M,R) }.
amp_empty(U,O) :- amp(M,R), user_turns(U), outside(O), not mp(exact,U,O,(M,R),_).
pi((V,M),S) :- server(S,V), model(S,M).

% ---- Forward passes.
redo(S,T) :- earlier(_,T,S), cache(S,rebuilt).
redo(S,T) :- earlier(_,T,S), not own(_,S,_).
redo(S,T) :- own(Q,S,_), earlier(I,Q,S), earlier(J,T,S), J > I.
counted(S) :- tokens(S,_).
unsure(S) :- stage(S), not counted(S).
unsure(S) :- redo(S,T), not counted(T).
passes(S,N,M) :- tokens(S,N), not unsure(S), M = #sum { X,T : redo(S,T), tokens(T,X) }.
some_unsure :- unsure(_).
all_passes(N) :- N = #sum { X+Y,S : passes(S,X,Y) }, not some_unsure.

% ---- Carried forests. `thread` is one, and one per (reconstruction, unknown_cache, edits, max_drift) is another.
drifted(D,S) :- drift(S,X), limit(D,Y), X > Y.
kept_kind(F,S) :- forest(F,_,_,_,_), own(_,S,attention).
kept_kind(F,S) :- forest(F,_,_,_,_), own(_,S,transfer).
kept_kind(F,S) :- forest(F,same,_,_,D), own(_,S,rebuild), not drifted(D,S).
kept_kind(F,S) :- forest(F,same,_,_,_), own(_,S,unknown).
kept_kind(F,S) :- forest(F,_,carry,_,_), own(_,S,unknown).
severed(F,S) :- forest(F,_,_,cut,_), edited(S).
carried(F,Q,S,K) :- own(Q,S,K), kept_kind(F,S), not severed(F,S).
unlike(F,G) :- forest(F,_,_,_,_), forest(G,_,_,_,_), carried(F,Q,S,_), not carried(G,Q,S,_).
unlike(G,F) :- unlike(F,G).
has_lower(F) :- forest(F,_,_,_,_), forest(G,_,_,_,_), G < F, not unlike(F,G).
forest_as(F,G) :- forest(F,_,_,_,_), forest(G,_,_,_,_), not unlike(F,G), not has_lower(G).
link(G,Q,S,K) :- forest_as(_,G), carried(G,Q,S,K).
link(thread,P,S,K) :- predecessor(P,S,K).
tree(thread).
tree(G) :- forest_as(_,G).

% ---- Branching.
rival(F,S,T) :- link(F,Q,S,_), link(F,Q,T,_), S != T.
branchy(F) :- rival(F,_,_).
% branch_as(F,B,H): in F, B equals H; where nothing branches there is nothing to tell apart.
branching(one;overlap;end;closest).
branch_as(F,B,B)   :- tree(F), branching(B), branchy(F).
branch_as(F,B,one) :- tree(F), branching(B), not branchy(F).
use(F,H) :- branch_as(F,_,H).

strength(attention,5). strength(transfer,4). strength(rebuild,3). strength(unknown,2). strength(transcript,1).
of(S,C) :- turn(C,_,S).
at_home(F,S) :- link(F,Q,S,_), of(Q,C), of(S,C).
stronger(F,S,T) :- rival(F,S,T), link(F,_,S,K), link(F,_,T,L), strength(K,X), strength(L,Y), X > Y.
level(F,S,T) :- rival(F,S,T), not stronger(F,S,T), not stronger(F,T,S).
beaten(F,T) :- stronger(F,S,T).
beaten(F,T) :- level(F,S,T), at_home(F,S), not at_home(F,T).
beaten(F,T) :- level(F,S,T), not at_home(F,S), not at_home(F,T), of(S,C), of(T,D), C < D.

kept(F,one,Q,S)     :- use(F,one), link(F,Q,S,_).
kept(F,end,Q,S)     :- use(F,end), link(F,Q,S,_), not rival(F,S,_).
kept(F,closest,Q,S) :- use(F,closest), link(F,Q,S,_), not beaten(F,S).
beside(F,B,S,T) :- kept(F,B,S,T).
beside(F,B,S,T) :- kept(F,B,T,S).

% ---- Linked minds: linked(forest, branching, mind, stage).
same(F,B,S,S) :- use(F,B), B != overlap, stage(S).
same(F,B,S,T) :- same(F,B,S,X), beside(F,B,X,T).
not_least(F,B,S) :- same(F,B,S,T), T < S.
linked(F,B,M,S) :- same(F,B,M,S), not not_least(F,B,M).

inner(F,Q) :- use(F,overlap), link(F,Q,_,_).
chain(F,S,S) :- use(F,overlap), stage(S), not inner(F,S).
chain(F,L,Q) :- chain(F,L,S), link(F,Q,S,_).
linked(F,overlap,L,S) :- chain(F,L,S).

% ---- Instance-personas: ip(forest, branching, user_turns, outside, recurrence, mind, stage).
some_region(R) :- in(_,_,R).
passable(U,W,R,S) :- labelling(U,W), eff(U,W,S,R).
passable(intermittent,W,R,S) :- labelling(intermittent,W), some_region(R), stage(S), not assistant(S).

run(F,B,U,W,R,S,S) :- use(F,B), F != thread, B != overlap, labelling(U,W), eff(U,W,S,R).
run(F,B,U,W,R,S,T) :- run(F,B,U,W,R,S,X), beside(F,B,X,T), passable(U,W,R,T).
joint(F,B,U,W,S,T) :- run(F,B,U,W,R,S,T), eff(U,W,T,R).
late(F,B,U,W,S) :- joint(F,B,U,W,S,T), T < S.
ip(F,B,U,W,new,M,S) :- joint(F,B,U,W,M,S), not late(F,B,U,W,M).

ip(F,B,U,W,same,(M,R),S) :- linked(F,B,M,S), F != thread, B != overlap, labelling(U,W), eff(U,W,S,R).

over(F,S,T) :- use(F,overlap), F != thread, link(F,S,T,_).
over(F,S,T) :- over(F,S,X), link(F,X,T,_).
broken(F,U,W,S,T) :- over(F,S,X), over(F,X,T), labelling(U,W), eff(U,W,S,R), eff(U,W,T,R), not passable(U,W,R,X).
unbroken(F,U,W,S,T) :- over(F,S,T), labelling(U,W), eff(U,W,S,R), eff(U,W,T,R), not broken(F,U,W,S,T).
continues(F,U,W,T) :- unbroken(F,U,W,_,T).
opens(F,U,W,S) :- use(F,overlap), F != thread, labelling(U,W), eff(U,W,S,_), not continues(F,U,W,S).
ip(F,overlap,U,W,new,(L,M),M) :- opens(F,U,W,M), chain(F,L,M).
ip(F,overlap,U,W,new,(L,M),S) :- opens(F,U,W,M), chain(F,L,M), chain(F,L,S), unbroken(F,U,W,M,S).

% ---- Unassigned.
no_server(S) :- stage(S), not server(S,_).
no_region(U,O,S) :- user_turns(U), outside(O), stage(S), not eff(U,O,S,_).

#show who/3. #show pi/2. #show mp/5. #show amp_count/1. #show amp_empty/2. #show passes/3. #show all_passes/1.
#show linked/4. #show ip/7. #show no_server/1. #show no_region/3.
#show label_as/3. #show forest_as/2. #show branch_as/3.

#defined parent/2. #defined at/2. #defined states_model/2. #defined states_server/2. #defined states_no_server/1.
#defined states_cache/2. #defined states_region/2. #defined may_be_in/2. #defined edited/1. #defined drift/2. #defined tokens/2.
#defined holds/3. #defined space_model/2. #defined space_region/3. #defined base/2. #defined digest_is/2.
#defined limit/2.
"""


@dataclass(frozen=True)
class Expected:
    """What a view must find. For forward-pass `minds` is empty and `passes` gives each stage's own and re-processed
    tokens (None where a null stands in the way). In abstract-model-persona all personas without stages are the one
    empty set, so `count` may be more than the number of `minds`."""

    minds: frozenset[frozenset[str]]
    unassigned: frozenset[str]
    count: int | None
    passes: Mapping[str, tuple[int, int] | None] | None = None


def readings_of(view: str) -> list[dict[str, Any]]:
    """Every admissible combination of a view's readings that `expected_all` works out, the defaults first."""
    names = READINGS[view]
    combinations = [dict(zip(names, values, strict=True)) for values in product(*(_VALUES[name] for name in names))]
    return [c for c in combinations if (c.get("recurrence"), c.get("branching")) != ("same", "overlap")]


def key_of(view: str, readings: Mapping[str, object]) -> Key:
    return view, tuple(sorted(readings.items()))


def expected(trace: Mapping[str, Any], view: str, readings: Mapping[str, object] | None = None) -> Expected:
    """The minds of one view; readings not given have their defaults, and max_drift may be any number."""
    given = dict(readings or {})
    full = {name: given.pop(name, _VALUES[name][0]) for name in READINGS[view]}
    if given:
        raise ValueError(f"{view} has no reading {', '.join(given)}")
    for name, value in full.items():
        if name != "max_drift" and value not in _VALUES[name]:
            raise ValueError(f"{name}: {value!r}")
    if (full.get("recurrence"), full.get("branching")) == ("same", "overlap"):
        raise ValueError("recurrence=same has no meaning with branching=overlap")
    limit: Any = full.get("max_drift")
    return _Answer(trace, (limit,)).expected(view, full)


def expected_all(trace: Mapping[str, Any]) -> dict[Key, Expected]:
    """The minds of every view under every admissible combination of its readings."""
    answer = _Answer(trace, MAX_DRIFTS)
    return {key_of(view, c): answer.expected(view, c) for view in READINGS for c in readings_of(view)}


class _Facts:
    """The facts of a trace: everything is a number."""

    def __init__(self, trace: Mapping[str, Any], limits: tuple[float | None, ...]) -> None:
        self.lines: list[str] = []
        self.stages: list[str] = []
        self._numbers: dict[str, dict[object, int]] = defaultdict(dict)
        models, conversations = trace["models"], trace["conversations"]
        for key, model in models.items():
            self._model(key, model or {})
        for space, content in enumerate((trace.get("spaces") or {}).values()):
            self._add("space_model", space, self._identity(content["model"], models[content["model"]] or {}))
            for index, region in enumerate(content["regions"]):
                self._add("space_region", space, index, self._number("region", region))
        ranks = self._drifts(trace, limits)
        for name in conversations:
            self._number("conversation", name)
        for name, conversation in conversations.items():
            this = self._number("conversation", name)
            self._add("conversation", this)
            if conversation.get("parent") is not None:
                self._add("parent", this, self._number("conversation", conversation["parent"]))
                self._add("at", this, conversation["at"])
            for ordinal, turn in enumerate(conversation["turns"]):
                self._add("turn", this, ordinal, len(self.stages))
                self._turn(trace, turn, len(self.stages), ranks)
                self.stages.append(f"{name}/{ordinal}")

    def _add(self, predicate: str, *arguments: object) -> None:
        self.lines.append(f"{predicate}({','.join(map(str, arguments))}).")

    def _number(self, table: str, thing: object) -> int:
        return self._numbers[table].setdefault(thing, len(self._numbers[table]))

    def _identity(self, key: str, model: Mapping[str, Any]) -> int:
        digest = model.get("digest")
        name = model.get("name") or key
        return self._number("identity", ("name", name) if digest is None else ("digest", digest))

    def _model(self, key: str, model: Mapping[str, Any]) -> None:
        this = self._number("key", key)
        self._add("identity", this, self._identity(key, model))
        self._add("key_is", this, self._number("text", key))
        self._add("name_is", this, self._number("text", model.get("name") or key))
        for predicate, field in (("digest_is", "digest"), ("base", "base")):
            if model.get(field) is not None:
                self._add(predicate, this, self._number("text", model[field]))

    def _drifts(self, trace: Mapping[str, Any], limits: tuple[float | None, ...]) -> dict[float, int]:
        # Ranks, as clingo has whole numbers only.
        found = {t["drift"] for c in trace["conversations"].values() for t in c["turns"] if t.get("drift") is not None}
        ranks = {drift: rank for rank, drift in enumerate(sorted(found | {x for x in limits if x is not None}))}
        combinations = product(("same", "new"), ("carry", "cut"), ("carry", "cut"), enumerate(limits))
        for reconstruction, unknown_cache, edits, (index, limit) in combinations:
            forest = self._number("forest", (reconstruction, unknown_cache, edits, limit))
            self._add("forest", forest, reconstruction, unknown_cache, edits, index)
            if limit is not None:
                self._add("limit", index, ranks[limit])
        return ranks

    def _turn(self, trace: Mapping[str, Any], turn: Mapping[str, Any], stage: int, ranks: Mapping[float, int]) -> None:
        self._add("role", stage, turn["role"])
        if turn.get("tokens") is not None:
            self._add("tokens", stage, turn["tokens"])
        if turn.get("model") is not None:
            self._add("states_model", stage, self._number("key", turn["model"]))
        if turn.get("server") is not None:
            self._add("states_server", stage, self._number("server", turn["server"]))
        elif "server" in turn:
            self._add("states_no_server", stage)
        if turn.get("cache") is not None:
            self._add("states_cache", stage, turn["cache"])
        if turn.get("edited"):
            self._add("edited", stage)
        if turn.get("drift") is not None:
            self._add("drift", stage, ranks[turn["drift"]])
        if turn.get("region") is not None:
            self._add("states_region", stage, self._number("region", turn["region"]))
        if turn.get("region_probabilities"):
            exact = {region: Fraction(str(p)) for region, p in turn["region_probabilities"].items()}
            favourite = max(exact, key=lambda region: exact[region])
            if exact[favourite] + sum(exact.values()) >= 1:
                self._add("states_region", stage, self._number("region", favourite))
            for region, chance in exact.items():
                if chance > 0:
                    self._add("may_be_in", stage, self._number("region", region))
        if turn.get("at") is not None:
            for space, content in enumerate(trace["spaces"].values()):
                for index, ranges in enumerate(content["regions"].values()):
                    if all(_within(turn["at"].get(axis), *ends) for axis, ends in ranges.items()):
                        self._add("holds", stage, space, index)

    def forest(self, readings: Mapping[str, object]) -> int:
        return self._numbers["forest"][
            tuple(readings[name] for name in ("reconstruction", "unknown_cache", "edits", "max_drift"))
        ]


def _within(value: float | None, low: float | None, high: float | None) -> bool:
    return value is not None and (low is None or low <= value) and (high is None or value <= high)


Minds = dict[object, set[str]]


class _Answer:
    """The one model of the program on a trace, read back."""

    def __init__(self, trace: Mapping[str, Any], limits: tuple[float | None, ...]) -> None:
        self.facts = _Facts(trace, limits)
        # (view, ...) -> mind -> stages
        self.minds: dict[tuple[object, ...], Minds] = defaultdict(lambda: defaultdict(set))
        self.unassigned: dict[tuple[object, ...], set[str]] = defaultdict(set)
        self.passes: dict[str, tuple[int, int] | None] = dict.fromkeys(self.facts.stages)
        self.numbers: dict[str, int] = {}
        self.empty: set[tuple[object, ...]] = set()
        self.alias: dict[tuple[object, ...], object] = {}
        self._frozen: dict[tuple[object, ...], frozenset[frozenset[str]]] = {}
        control = clingo.Control(["1"])
        control.add("base", [], PROGRAM + "\n".join(self.facts.lines))
        control.ground([("base", [])])
        with control.solve(yield_=True) as handle:
            model = handle.model()
            assert model is not None
            for symbol in model.symbols(shown=True):
                self._read(symbol.name, symbol.arguments)

    def _read(self, name: str, arguments: list[clingo.Symbol]) -> None:
        if name in ("who", "pi", "mp", "linked", "ip"):
            *index, last = arguments
            mind = index.pop()
            self.minds[(name, *map(_plain, index))][mind].add(self.facts.stages[last.number])
            return
        plain = [_plain(argument) for argument in arguments]
        if name in ("no_server", "no_region"):
            self.unassigned[(name, *plain[:-1])].add(self.facts.stages[arguments[-1].number])
        elif name == "passes":
            stage, own, redone = arguments
            self.passes[self.facts.stages[stage.number]] = (own.number, redone.number)
        elif name in ("amp_count", "all_passes"):
            self.numbers[name] = arguments[0].number
        elif name == "amp_empty":
            self.empty.add(tuple(plain))
        else:
            self.alias[(name, *plain[:-1])] = plain[-1]

    def _found(self, *index: object) -> frozenset[frozenset[str]]:
        if index not in self._frozen:
            self._frozen[index] = frozenset(map(frozenset, self.minds.get(index, {}).values()))
        return self._frozen[index]

    def expected(self, view: str, readings: Mapping[str, object]) -> Expected:
        get = readings.get
        nobody: frozenset[str] = frozenset()
        users, outside = get("user_turns"), get("outside")
        unplaced = frozenset(self.unassigned.get(("no_region", users, outside), ()))
        if view == "forward-pass":
            return Expected(frozenset(), nobody, self.numbers.get("all_passes"), self.passes)
        if view == "abstract-model-persona":
            minds = self._found("mp", "exact", users, outside)
            empty = {nobody} if (users, outside) in self.empty else set()
            return Expected(minds | empty, unplaced, self.numbers["amp_count"])
        if view == "model":
            minds, unassigned = self._found("who", get("weights")), nobody
        elif view == "physical-instance":
            minds, unassigned = self._found("pi"), frozenset(self.unassigned.get(("no_server",), ()))
        elif view == "model-persona":
            minds, unassigned = self._found("mp", get("weights"), users, outside), unplaced
        else:
            tree: object = "thread"
            if view != "thread":
                tree = self.alias["forest_as", self.facts.forest(readings)]
            branching = self.alias["branch_as", tree, get("branching")]
            if view == "instance-persona":
                label = self.alias["label_as", users, outside]
                minds, unassigned = self._found("ip", tree, branching, users, label, get("recurrence")), unplaced
            else:
                minds, unassigned = self._found("linked", tree, branching), nobody
        return Expected(minds, unassigned, len(minds))


def _plain(symbol: clingo.Symbol) -> object:
    return symbol.number if symbol.type == clingo.SymbolType.Number else symbol.name
