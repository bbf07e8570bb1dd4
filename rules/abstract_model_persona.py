"""The abstract-model-persona view: the mind is the persona region itself.

One mind for each region of a model's persona space, with the circuits that it gates, whether any conversation has
entered it or not. Its stages are those that instantiate it. Source: Beckmann & Butlin 2026, §4.3.

Readings: `user_turns`, `outside`; they decide which stages instantiate a region, never how many regions there are.
"""

from __future__ import annotations

from rules.declaration import Declaration
from rules.declared import declared
from rules.readings import OUTSIDE, USER_TURNS

VIEW = declared(
    "abstract-model-persona",
    Declaration(pool=("model", "region"), known=("region",), uninstantiated=True),
    definition="the region itself, with the circuits it gates, instantiated or not",
    source="§4.3",
    key="{model}/{region}",
    label="{region} of {model}",
    readings=(USER_TURNS, OUTSIDE),
    about=__doc__,
)
