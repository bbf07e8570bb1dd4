"""The attributes of stages as codes, for views that compare them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from rules.declaration import Attribute
from rules.readings import Readings
from rules.regions import effective_regions
from rules.view import Rows
from traces.stages import StageTable
from traces.vocabulary import ROLES


def attribute_codes(stages: StageTable, attribute: Attribute, readings: Readings) -> NDArray[np.int32]:
    """The code of an attribute at each stage (int32 [stages]), -1 where it is unknown or there is none.

    Needs the readings `user_turns` and `outside` for regions, `weights` for models.
    """
    match attribute:
        case "region":
            return effective_regions(stages, readings)
        case "model":
            return stages.base_model[0] if readings["weights"] == "base" else stages.model
        case "server":
            return stages.server
        case "principal":
            return stages.principal
        case "conversation":
            return stages.conversation
        case _:
            return stages.role.astype(np.int32)


def attribute_names(stages: StageTable, attribute: Attribute, readings: Readings) -> list[str]:
    """What the codes of an attribute stand for."""
    match attribute:
        case "region":
            return stages.regions.names
        case "model":
            return stages.base_model[1] if readings["weights"] == "base" else stages.models
        case "server":
            return stages.servers
        case "principal":
            return stages.principals
        case "conversation":
            return stages.conversations
        case _:
            return list(ROLES)


def known_where(codes: Mapping[Attribute, NDArray[np.int32]], known: Iterable[Attribute]) -> NDArray[np.bool_]:
    """The stages (bool [stages]) that have all attributes that must be known."""
    everything: NDArray[np.bool_] = np.logical_and.reduce([codes[name] >= 0 for name in known])
    return everything


def combined(columns: Iterable[tuple[NDArray[np.int32], int]], stages: int) -> Rows:
    """One code for several attributes (int64 [stages]): equal iff all are. Each comes with how many values it has.

    >>> combined([(np.array([0, 1, -1], np.int32), 2), (np.array([5, 5, 5], np.int32), 6)], 3).tolist()
    [13, 20, 6]
    """
    code = np.zeros(stages, np.int64)
    for column, values in columns:
        # Unknown is a value like another, 0.
        code = code * (values + 1) + column + 1
    return code
