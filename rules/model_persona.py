"""The model-persona view: the mind is a persona of a model, wherever it is active.

Two stages belong to one mind iff they ran on the same model and are in the same effective persona region, in any
conversation. Parallel conversations in one region are one mind, and a persona that is led back to years later is the
same one. A stage whose effective region is none belongs to no mind. Source: Beckmann & Butlin 2026, §4, §4.3.

Readings: `user_turns`, `weights` (is a fine-tuned model the given model?), `outside`.
"""

from __future__ import annotations

from rules.declaration import Declaration
from rules.declared import declared
from rules.readings import OUTSIDE, USER_TURNS, WEIGHTS

VIEW = declared(
    "model-persona",
    Declaration(pool=("model", "region"), known=("region",)),
    definition="the same model and the same effective region, in any conversation",
    source="§4, §4.3",
    key="{model}/{region}",
    label="{region} of {model}",
    readings=(USER_TURNS, WEIGHTS, OUTSIDE),
    about=__doc__,
)
