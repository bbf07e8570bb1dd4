"""The model view: the mind is the model.

Two stages belong to one mind iff they ran on the same model, that is the same weights, in whatever conversation and on
whatever server. Source: Beckmann & Butlin 2026, §1.2.

Reading `weights`: whether a fine-tuned model, one that names a base, is still "the given model" (§3.1, fn 8).
"""

from __future__ import annotations

from rules.declaration import Declaration
from rules.declared import declared
from rules.readings import WEIGHTS

VIEW = declared(
    "model",
    Declaration(pool=("model",)),
    definition="the same model",
    source="§1.2",
    key="{model}",
    label="{model}",
    readings=(WEIGHTS,),
    about=__doc__,
)
