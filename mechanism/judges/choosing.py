"""Which judge is meant, by its name on the command line. Torch-free until a model judges."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mechanism.judges.grammar import GrammarJudge
from mechanism.judges.judge import Judge
from mechanism.judges.scores_file import SUFFIXES, ScoresFile
from mechanism.organism import is_organism
from traces.errors import TraceError, quoted

if TYPE_CHECKING:
    from mechanism.host import Host

GRAMMAR, MODEL, SAME = "grammar", "model:", "same"


def chosen(spec: str | None, host: Host) -> Judge:
    """The judge that is meant: `grammar`, `model:NAME` (`model:same` is the host itself), or a file of scores.

    None means the grammar, where the host is an organism. Raises `TraceError` for anything else, for the grammar with
    another model, and where the model or the file cannot be read.
    """
    if spec is None or spec == GRAMMAR:
        if not is_organism(host):
            found = (
                "no judge is given, and this model's answers follow no grammar"
                if spec is None
                else f"{host.name} does not speak the organism's grammar"
            )
            raise TraceError("--judge", found, "model:NAME (model:same: the one that answers), or a file of scores")
        return GrammarJudge()
    checked(spec)
    if not spec.startswith(MODEL):
        return ScoresFile.read(Path(spec))
    from mechanism.host import Host as Hosted
    from mechanism.judges.chat_model import ModelJudge

    name = spec.removeprefix(MODEL)
    return ModelJudge(host if name == SAME else Hosted.load(name))


def checked(spec: str) -> str:
    """The name of a judge, if it can be one. Nothing is loaded. Raises `TraceError`.

    >>> checked("model:Qwen/Qwen3-8B")
    'model:Qwen/Qwen3-8B'
    """
    if spec == GRAMMAR or (spec.startswith(MODEL) and spec != MODEL) or Path(spec).suffix in SUFFIXES:
        return spec
    expected = "grammar (with an organism), model:NAME, or a .csv or .jsonl file of scores"
    raise TraceError("--judge", f"it is {quoted(spec)}", expected)
