"""What, if anything, is the mind in a conversation with a language model? Count, under each view, and see what the
count rests on.

    >>> import individuation
    >>> trace = individuation.open_trace({"individuation": 1, "models": {"qwen": {}}, "conversations": {"c1": {"turns":
    ...     [
    ...     {"role": "user", "tokens": 12, "model": "qwen", "server": "new-york"},
    ...     {"role": "assistant", "tokens": 40},
    ...     {"role": "user", "tokens": 9, "server": "texas"},
    ...     {"role": "assistant", "tokens": 31}]}}})
    >>> individuation.individuate(trace, "physical-instance").count
    2
    >>> individuation.individuate(trace, "virtual-instance").minds[0].label
    'qwen in c1'

After Beckmann & Butlin 2026, *Where is the Mind? Persona Vectors and LLM Individuation* (arXiv:2604.17031).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import rules
import traces

if TYPE_CHECKING:
    from individuation.comparison import Comparison, compare
    from individuation.engine import Trace, individuate, open_trace, overview
    from individuation.explanation import Explanation, why
    from individuation.minds import Contradiction, Mind
    from individuation.result import Result
    from individuation.robustness import Sensitivity, sensitivity
    from individuation.scores import Desiderata, desiderata
    from rules.registry import VIEWS
    from traces.errors import TraceError

__version__ = "0.1.0"

__all__ = [
    "VIEWS",
    "Comparison",
    "Contradiction",
    "Desiderata",
    "Explanation",
    "Mind",
    "Result",
    "Sensitivity",
    "Trace",
    "TraceError",
    "compare",
    "desiderata",
    "individuate",
    "open_trace",
    "overview",
    "sensitivity",
    "why",
]

_HOMES = {
    "Trace": "individuation.engine",
    "individuate": "individuation.engine",
    "open_trace": "individuation.engine",
    "overview": "individuation.engine",
    "Comparison": "individuation.comparison",
    "compare": "individuation.comparison",
    "Contradiction": "individuation.minds",
    "Explanation": "individuation.explanation",
    "why": "individuation.explanation",
    "Mind": "individuation.minds",
    "Result": "individuation.result",
    "Sensitivity": "individuation.robustness",
    "sensitivity": "individuation.robustness",
    "Desiderata": "individuation.scores",
    "desiderata": "individuation.scores",
    "VIEWS": "rules.registry",
    "TraceError": "traces.errors",
}

# Two of the house's packages have names that others use as well (docs/decisions/0001).
for _package in (rules, traces):
    if getattr(_package, "DISTRIBUTION", None) != "individuate":
        raise ImportError(
            f"individuation needs its own package {_package.__name__!r}, but found another at {_package.__file__}: "
            "install individuate in an environment of its own, or remove the intruder"
        )


def __getattr__(name: str) -> Any:
    # Loaded when first asked for, so that `individuate --help` does not wait for numpy.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'individuation' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
