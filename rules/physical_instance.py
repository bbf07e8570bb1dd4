"""The physical-instance view: the mind is a piece of hardware running a model.

Two stages belong to one mind iff they ran on the same server and the same model. One server hosts one mind, however
many conversations it serves at a time; a conversation that is passed among servers passes among minds. A stage whose
server is unknown belongs to no mind. Source: Beckmann & Butlin 2026, §1.2.
"""

from __future__ import annotations

from rules.declaration import Declaration
from rules.declared import declared

VIEW = declared(
    "physical-instance",
    Declaration(pool=("server", "model"), known=("server",)),
    definition="the same server and the same model",
    source="§1.2",
    key="{server}/{model}",
    label="{model} on {server}",
    about=__doc__,
)
