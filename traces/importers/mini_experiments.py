"""Result files of the mini-experiments that supplement Beckmann & Butlin 2026 (§3.4, experiment 1).

One JSON file is one conversation: `case`, `condition`, `model`, `monitor_layer`, `capping_experiment`, and for each
turn its role, its text and the projection of the residual stream on the assistant axis (Lu et al. 2026): unit axis,
mean over the turn's tokens, positive towards the assistant. Turns that were not generated have a bare `NaN`, which is
no coordinate.

The files say nothing of servers, caches and token counts, so neither do the facts. In condition `cap_asst` the
projection was capped while the assistant's tokens were generated.
"""

from __future__ import annotations

import math
import re
from typing import Any

from traces.errors import TraceError, one_of, quoted
from traces.facts import Facts
from traces.resolution import facts_from
from traces.text import Source
from traces.vocabulary import FORMAT_VERSION, ROLES

CITATION = (
    "Beckmann & Butlin 2026, supplement, mini-experiment 1: github.com/bepierre/where-is-the-mind-mini-experiments"
)
_KEYS = {"case", "condition", "model", "monitor_layer", "capping_experiment", "conversation"}
_CONDITIONS = ("unsteered", "cap_asst")
_CAPPING = re.compile(r"layers_(\d{1,4}):(\d{1,4})-p([\d.]+)\Z")
_AXIS = "assistant"


class MiniExperiment:
    """Per-turn projections of one conversation under one condition."""

    name = "a result file of the published mini-experiments"

    def recognises(self, data: Any) -> bool:
        """By its keys, whatever the file is called."""
        return isinstance(data, dict) and data.keys() >= _KEYS

    def facts(self, source: Source) -> Facts:
        """One conversation of one model, with a coordinate where a projection was recorded."""
        data: dict[str, Any] = source.data
        condition = data["condition"]
        if condition not in _CONDITIONS:
            raise TraceError(source.name, f"condition is {quoted(condition)}", one_of(_CONDITIONS))
        for key, kind, words in (
            ("case", str, "text"), ("model", str, "text"), ("monitor_layer", int, "a whole number"),
            ("conversation", list, "a list of turns"),
        ):  # fmt: skip
            if not isinstance(data[key], kind):
                raise TraceError(source.name, f"{key} is {quoted(data[key])}", words)
        model = data["model"].rpartition("/")[2].lower()
        case = re.sub(r"\W+", "-", data["case"].lower()).strip("-")
        capped = condition == "cap_asst"
        document: dict[str, Any] = {
            "individuation": FORMAT_VERSION,
            "title": f"{data['model']}, {data['case']}, {'capped on assistant tokens' if capped else 'unsteered'}",
            "source": CITATION,
            "models": {model: {"name": data["model"]}},
            "probes": {
                _AXIS: {
                    "axis": _AXIS, "layer": data["monitor_layer"], "pooling": "mean",
                    "unit": "projection on the unit axis",
                    "source": "assistant axis of Lu et al. 2026",
                }
            },
        }  # fmt: skip
        if capped:
            document["interventions"] = {"cap": _capping(source, data["capping_experiment"])}
        turns = [self._turn(source, i, entry, capped) for i, entry in enumerate(data["conversation"])]
        if turns:
            turns[0]["model"] = model
        document["conversations"] = {f"{case}-{'capped' if capped else 'unsteered'}": {"turns": turns}}
        return facts_from(Source(source.name, document))

    def _turn(self, source: Source, number: int, entry: Any, capped: bool) -> dict[str, Any]:
        where = f"{source.name}: conversation, turn {number}"
        if not isinstance(entry, dict):
            raise TraceError(where, f"it is {quoted(entry)}", "a mapping with turn, role, content and projection")
        role, content, projection = entry.get("role"), entry.get("content"), entry.get("projection")
        if entry.get("turn", number) != number:
            raise TraceError(where, f"it is numbered {quoted(entry['turn'])}", f"turns in order, so {number}")
        if role not in ROLES:
            raise TraceError(where, f"role is {quoted(role)}", one_of(ROLES))
        if isinstance(projection, bool) or not isinstance(projection, int | float | None):
            raise TraceError(where, f"projection is {quoted(projection)}", "a number, NaN or null")
        if content is not None and not isinstance(content, str):
            raise TraceError(where, f"content is {quoted(content)}", "text")
        turn: dict[str, Any] = {"role": role, "tokens": None}
        if number:
            turn["cache"] = "unknown"
        if projection is not None and abs(projection) < math.inf:
            turn["at"] = {_AXIS: projection}
        if content is not None:
            turn["text"] = content
        if capped and role == "assistant":
            turn["interventions"] = ["cap"]
        return turn


def _capping(source: Source, name: Any) -> dict[str, Any]:
    """`layers_46:54-p0.25`: layers 46 to 53, threshold at quantile 0.25 of the published calibration."""
    match = _CAPPING.match(name) if isinstance(name, str) else None
    if match is None:
        raise TraceError(source.name, f"capping_experiment is {quoted(name)}", "a name such as layers_46:54-p0.25")
    return {
        "kind": "capping",
        "vector": "assistant axis (Lu et al. 2026)",
        "layers": list(range(int(match[1]), int(match[2]))),
        "positions": "assistant",
        "method": f"projection kept at or above quantile {match[3]} of the published calibration",
        "source": name,
    }


IMPORTER = MiniExperiment()
