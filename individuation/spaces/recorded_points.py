"""The coordinates that traces have of the assistant's turns, on the axes of a persona space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from traces.errors import TraceError, quoted
from traces.identity import find_model, models_named
from traces.labelling import axis_values
from traces.recognition import read
from traces.vocabulary import ROLES

if TYPE_CHECKING:
    from mechanism.space import PersonaSpace
    from traces.facts import Facts


def recorded_points(paths: Sequence[Path], space: PersonaSpace) -> tuple[NDArray[np.float64], list[str]]:
    """Coordinates [n, axes] of all turns of the space's model that were read on all of its axes, and of each turn the
    conversation that it is from.

    Raises `TraceError` for a trace that has no such turn.
    """
    points, conversations = [], []
    for path in paths:
        facts = read(path)
        models = model_keys(facts, space)
        values = np.stack([axis_values(facts, space.name, space.facts(models[0]), axis) for axis in space.axes], axis=1)
        keys = list(facts.models)
        mine = (facts.turns.role == ROLES.index("assistant")) & np.isfinite(values).all(axis=1)
        mine &= np.isin(facts.turns.model, [keys.index(key) for key in models])
        if not mine.any():
            found = (
                f"no assistant turn was read on all axes of the space ({', '.join(space.axes)}) at layer {space.layer}"
            )
            raise TraceError(str(path), found, "a trace recorded with this space (individuate record --space)")
        points.append(values[mine])
        names = facts.conversations.names
        conversations += [f"{path}: {names[number]}" for number in facts.turns.conversation[mine].tolist()]
    return np.concatenate(points), conversations


def model_keys(facts: Facts, space: PersonaSpace) -> list[str]:
    """The trace's keys of the space's model; of a space that names none, those of the only one there is."""
    wanted = [each for each in (space.model_digest, space.model_name) if each is not None]
    for each in wanted:
        if find_model(facts.models, each):
            return models_named(facts.models, each)
    if not wanted and len(facts.models) == 1:
        return list(facts.models)
    found = f"it has no turn of the space's model, {quoted(space.model_name or space.model_digest)}"
    if not wanted:
        found = f"it has turns of {len(facts.models)} models, and the space does not say which is its own"
    raise TraceError(str(facts.name), found, "a trace of the model that the space was made for")
