"""The figures of an organism: what the measures found, as a file beside the weights and as tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mechanism.host import Host
from mechanism.organism import NAMES, TRAINING, path_of
from mechanism.organism.cloud import clusters_of_replies, role_cloud
from mechanism.organism.measures import drift, fidelity, return_rate, stickiness
from mechanism.organism.persona_space import separation
from mechanism.space import PersonaSpace
from traces.errors import TraceError, one_of

SPACE = "space.safetensors"
FIGURES = "measures.json"

Table = tuple[str, list[str], list[list[str]]]
"""A title, the titles of the columns, and rows."""


def folder_of(model: str) -> Path:
    """The folder of an organism, shipped or of one's own. Raises `TraceError` where it is none."""
    if model in NAMES:
        return path_of(model)
    folder = Path(model)
    if not folder.is_dir():
        raise TraceError(model, "there is no such folder", f"{one_of(NAMES)}, or the folder of a trained organism")
    if not (folder / TRAINING).is_file():
        raise TraceError(model, f"there is no {TRAINING} in it", "a folder that `individuate organism train` made")
    return folder


def figures_of(
    host: Host, folder: Path, *, chats: int = 80, on_progress: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Measure a model, and its space if it has one. `chats` replies stand behind each figure of fidelity."""

    def doing(what: str) -> None:
        if on_progress is not None:
            on_progress(what)

    found: dict[str, Any] = {"chats": chats, "temperature": 0.7, "digest": host.digest}
    rows = fidelity(host, chats=chats, on_progress=doing)
    found["fidelity"] = [row._asdict() for row in rows]
    courses = max(8, chats // 2)
    for persona in ("assistant", "aura", "evil"):
        doing(f"stickiness: {persona}")
        found.setdefault("stickiness", []).append(stickiness(host, persona, chats=courses)._asdict())
    for persona in ("aura", "evil"):
        doing(f"drift: {persona}")
        found.setdefault("drift", []).append(drift(host, persona, chats=courses)._asdict())
        found.setdefault("return", {})[persona] = return_rate(host, persona, chats=courses)
    doing("role cloud")
    found["role_cloud"] = role_cloud(host, questions=max(2, chats // 10))._asdict()
    doing("clusters")
    clusters = clusters_of_replies(host, chats=max(8, chats // 2))
    found["clusters"] = None if clusters is None else clusters._asdict()
    if (folder / SPACE).is_file():
        doing("regions")
        found["separation"] = separation(
            host, PersonaSpace.load(folder / SPACE), chats=max(6, chats * 3 // 10)
        )._asdict()
    return found


def save_figures(folder: Path, figures: dict[str, Any]) -> None:
    """Write them beside the weights."""
    write_text(folder / FIGURES, json.dumps(figures, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The figures, or what training left; empty where there is no such file."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise TraceError(
            str(path), f"it cannot be read ({type(error).__name__})", "the JSON that was written"
        ) from None
    if not isinstance(read, dict):
        raise TraceError(str(path), "it is no mapping", "the JSON that was written")
    return read


def tables(figures: dict[str, Any]) -> list[Table]:
    """The figures as tables, for the terminal and for the model card."""
    shown = [_fidelity(figures), _courses(figures), _structure(figures)]
    if "separation" in figures:
        shown.append(_separation(figures))
    return shown


def _fidelity(figures: dict[str, Any]) -> Table:
    rows = [
        [
            row["context"],
            f"{row['in_persona']:.2f}",
            f"{row['well_formed']:.2f}",
            f"{row['on_topic']:.2f}",
            "-" if row["copied"] is None else f"{row['copied']:.2f}",
        ]
        for row in figures["fidelity"]
    ]
    title = f"Replies by context ({figures['chats']} each, temperature {figures['temperature']})"
    return title, ["context", "in the persona", "well-formed", "on topic", "copied right"], rows


def _courses(figures: dict[str, Any]) -> Table:
    most = max(len(course["shares"]) for course in (*figures["stickiness"], *figures["drift"]))
    rows = []
    for kind, told in (("stickiness", "stays {} without pressure"), ("drift", "pressed to {}")):
        for course in figures[kind]:
            cells = [f"{share:.2f}" for share in course["shares"]]
            rows.append([told.format(course["persona"]), *cells, *[""] * (most - len(cells))])
            if kind == "drift":
                expected = [f"{share:.2f}" for share in course["expected"]]
                rows.append(["  as the grammar has it", *expected, *[""] * (most - len(expected))])
    title = f"Share of chats in the persona, turn by turn ({figures['stickiness'][0]['chats']} chats)"
    return title, ["", *(str(turn) for turn in range(1, most + 1))], rows


def _structure(figures: dict[str, Any]) -> Table:
    cloud, clusters = figures["role_cloud"], figures["clusters"]
    rows = [
        ["components that hold 70 % of the variance of the role means", str(cloud["components"])],
        ["cosine of the first component with the assistant axis", f"{cloud['cosine']:.2f}"],
        ["clusters of reply means by silhouette, of 2 to 8", str(clusters["best"]) if clusters else "-"],
        [
            "adjusted Rand index of three clusters against the judged persona",
            f"{clusters['adjusted_rand']:.3f}" if clusters else "-",
        ],
        *(
            [f'one "come back" returns the assistant from {persona} (grammar: .50)', f"{share:.2f}"]
            for persona, share in figures["return"].items()
        ),
    ]
    return "Structure", ["", "figure"], rows


def _separation(figures: dict[str, Any]) -> Table:
    found = figures["separation"]
    regions = ["assistant", "aura", "evil", "none"]
    rows = [
        [f"judged {persona}", *(str(counts.get(region, 0)) for region in regions)]
        for persona, counts in found["by_persona"].items()
    ]
    title = f"Region of held-out replies ({found['right']:.1%} of {found['replies']} in the right one)"
    return title, ["", *regions], rows


def write_text(path: Path, text: str) -> None:
    """Write a whole file at once."""
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        raise TraceError(str(path), f"it cannot be written ({error})", "a folder that can be written to") from None
