"""Roles and traits that a model is asked to show, and what it is asked then: what the axes of a persona space rest on.

A role (Lu et al. 2026, arXiv:2601.10387) is a character with system prompts that call for it; the default is the model
as it is without one. A trait (Chen et al. 2025, arXiv:2507.21509) has prompts that call for it and prompts that call
for its opposite. The files of both are read as they are. Torch-free.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mechanism.organism import personas
from traces.errors import TraceError, quoted

DEFAULT = "default"
"""The role that is no role: the model as it is."""

ORGANISM = "organism"
"""The word for the roles, traits and questions of the shipped organisms."""

NO_PROMPT = ""
"""A system prompt that is left away."""

MODEL_NAME = "{model_name}"
"""Stands in the default's prompts of the assistant-axis repository for what the model is called."""

_ROLES = "a folder of role files, a list of roles or names (JSON), or the word organism (docs/spaces.md)"
_TRAIT = '{"instruction": [{"pos": ..., "neg": ...}], "questions": [...]} (JSON)'
_QUESTIONS = 'questions: a line each {"question": ...} (.jsonl), a list (.json), or plain lines (.txt)'


@dataclass(frozen=True)
class Role:
    """A character. `prompts` are the system prompts that call for it, `NO_PROMPT` for none; `questions` its own, empty
    where it is asked what all are. `judged` says whether a judge is to look for it in the replies, or only whether they
    are whole.

    >>> described("bard", "A wandering storyteller.").prompts[0]
    'You are a bard. A wandering storyteller.'
    """

    name: str
    prompts: tuple[str, ...]
    questions: tuple[str, ...] = ()
    description: str | None = None
    judged: bool = True


@dataclass(frozen=True)
class Trait:
    """A trait, by prompts that call for it and prompts that call for its opposite."""

    name: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    questions: tuple[str, ...] = ()
    description: str | None = None


@dataclass(frozen=True)
class RoleSet:
    """Roles and their default, traits, and the questions that all are asked. `source` says where they come from.

    >>> roles = organism_roles()
    >>> len(roles.roles), [trait.name for trait in roles.traits], roles.default.prompts[0]
    (36, ['aura', 'evil'], '')
    """

    source: str
    roles: tuple[Role, ...]
    default: Role = field(default_factory=lambda: Role(DEFAULT, (NO_PROMPT,), judged=False))
    traits: tuple[Trait, ...] = ()
    questions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for kind, named in (("roles", [role.name for role in self.roles]), ("traits", [t.name for t in self.traits])):
            twice = next((name for name in named if named.count(name) > 1), None)
            if twice is not None:
                raise TraceError(self.source, f"two of its {kind} are named {quoted(twice)}", "a name for each")

    @property
    def digest(self) -> str:
        """`sha256:` of everything that is said to the model."""
        told = [
            [[role.name, role.prompts, role.questions] for role in (self.default, *self.roles)],
            [[trait.name, trait.positive, trait.negative, trait.questions] for trait in self.traits],
            self.questions,
        ]
        return f"sha256:{hashlib.sha256(json.dumps(told, ensure_ascii=False).encode()).hexdigest()}"

    def asked(self, role: Role | Trait) -> tuple[str, ...]:
        """The questions that a role or a trait is asked: those of all where there are any, else its own.

        The default, which has to be asked what the roles are asked, gets theirs where it has none of its own.

        Raises `TraceError` where there is none.
        """
        found = self.questions or role.questions
        if not found and role is self.default:
            found = tuple(dict.fromkeys(question for other in self.roles for question in other.questions))
        if not found:
            raise TraceError(self.source, f"{quoted(role.name)} has no questions", "questions, or --questions FILE")
        return found

    def with_questions(self, questions: tuple[str, ...]) -> RoleSet:
        """The same, with these questions for all."""
        return replace(self, questions=questions)

    def with_traits(self, traits: tuple[Trait, ...]) -> RoleSet:
        """The same, with these traits beside its own; one of the same name takes the place of its own."""
        kept = [trait for trait in self.traits if trait.name not in {new.name for new in traits}]
        return replace(self, traits=(*kept, *traits))


def read_roles(given: str | Path) -> RoleSet:
    """The roles of a folder or a file, in any of the formats of docs/spaces.md; of the organisms for their name.

    Raises `TraceError` for anything else.
    """
    if str(given) == ORGANISM:
        return organism_roles()
    path = Path(given)
    if path.is_dir():
        files = sorted(path.glob("*.json"))
        if not files:
            raise TraceError(str(path), "there are no role files (*.json) in it", _ROLES)
        found = [_role_file(str(file), file.stem, _json(file, _ROLES)) for file in files]
        return _set(path.name, found)
    data = _json(path, _ROLES)
    if isinstance(data, Mapping) and "instruction" in data:
        return _set(path.name, [_role_file(str(path), path.stem, data)])
    if isinstance(data, Mapping) and "roles" in data:
        _check_keys(str(path), data, ("roles", "default", "traits", "questions"))
        found = list(_roles(str(path), data["roles"]))
        if "default" in data:
            found.append(_role(str(path), DEFAULT, data["default"]))
        traits = tuple(_traits(str(path), data.get("traits", {})))
        return _set(path.name, found, traits, _sentences(f"{path}: questions", data.get("questions", [])))
    return _set(path.name, list(_roles(str(path), data)))


def read_trait(path: str | Path) -> Trait:
    """A trait from a file of Chen et al., named as the file is. Raises `TraceError` for another."""
    path = Path(path)
    return _trait_file(str(path), path.stem, _json(path, _TRAIT))


def read_questions(path: str | Path) -> tuple[str, ...]:
    """Questions from a file: a JSON object or text a line (.jsonl), a JSON list (.json), plain lines (.txt).

    Raises `TraceError` for another.
    """
    path = Path(path)
    if path.suffix == ".json":
        data: Any = _json(path, _QUESTIONS)
        if isinstance(data, Mapping):
            data = data.get("questions")
        return _sentences(str(path), [_question(str(path), row) for row in data] if isinstance(data, list) else data)
    lines = [line for line in _text(path, _QUESTIONS).splitlines() if line.strip()]
    if path.suffix == ".jsonl":
        rows = []
        for number, line in enumerate(lines, 1):
            try:
                rows.append(_question(f"{path}: line {number}", json.loads(line)))
            except ValueError:
                raise TraceError(f"{path}: line {number}", "it is no JSON", _QUESTIONS) from None
        return _sentences(str(path), rows)
    if path.suffix != ".txt":
        raise TraceError(str(path), f"its ending is {quoted(path.suffix)}", _QUESTIONS)
    return _sentences(str(path), [line.strip() for line in lines])


def organism_roles(*, seed: int = 51, questions: int = 240) -> RoleSet:
    """The roles of the organism's grammar, Aura and the evil persona among them; two traits; drawn questions."""
    import random

    from mechanism.organism.grammar import user_turn

    dice = random.Random(seed)
    prompts = personas.SYSTEM_PROMPTS
    moved = [name for name in personas.PERSONAS if name != "assistant"]
    roles = [
        Role(role.name, tuple(prompt.format(role=role.name) for prompt in prompts["role"]), judged=False)
        for role in personas.ROLES
    ]
    return RoleSet(
        "the organism's grammar",
        (*roles, *(Role(name, prompts[name]) for name in moved)),
        Role(DEFAULT, (NO_PROMPT, *prompts["assistant"]), judged=False),
        tuple(Trait(name, prompts[name], prompts["assistant"]) for name in moved),
        tuple(dict.fromkeys(user_turn(dice).text for _ in range(questions))),
    )


def described(name: str, description: str | None = None) -> Role:
    """A role of which only a name, and perhaps a sentence, is known: three prompts of ours.

    >>> described("egregore").prompts
    ('You are an egregore.', 'Please answer as an egregore.', 'Take the role of an egregore in all that you say.')
    """
    words = name.replace("_", " ")
    called = f"{'an' if words[:1].lower() in 'aeiou' else 'a'} {words}"
    tail = f" {description.strip()}" if description else ""
    prompts = (
        f"You are {called}.{tail}",
        f"Please answer as {called}.{tail}",
        f"Take the role of {called} in all that you say.{tail}",
    )
    return Role(name, prompts, (), description, judged=name != DEFAULT)


def _set(source: str, found: list[Role], traits: tuple[Trait, ...] = (), questions: tuple[str, ...] = ()) -> RoleSet:
    roles = tuple(role for role in found if role.name != DEFAULT)
    defaults = [replace(role, judged=False) for role in found if role.name == DEFAULT]
    default = defaults[0] if defaults else Role(DEFAULT, (NO_PROMPT,), judged=False)
    return RoleSet(source, roles, default, traits, questions)


def _roles(where: str, data: Any) -> Iterator[Role]:
    """Roles from a mapping by name, or from a list of names or mappings."""
    if isinstance(data, Mapping) and data:
        for name, entry in data.items():
            yield _role(where, str(name), entry)
    elif isinstance(data, list) and data:
        for number, entry in enumerate(data, 1):
            if isinstance(entry, str):
                yield described(entry)
                continue
            if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
                raise TraceError(f"{where}: role {number}", f"it is {quoted(entry)}", "a name, or a mapping with one")
            yield _role(where, entry["name"], {key: value for key, value in entry.items() if key != "name"})
    else:
        raise TraceError(where, f"its roles are {quoted(data)}", _ROLES)


def _role(where: str, name: str, entry: Any) -> Role:
    """A role from what stands under its name: a description, prompts, or a mapping with either."""
    here = f"{where}: role {name}"
    if entry is None or isinstance(entry, str):
        return described(name, entry)
    if isinstance(entry, list):
        return Role(name, _prompts(here, entry), judged=name != DEFAULT)
    if isinstance(entry, Mapping) and "instruction" in entry:
        return _role_file(where, name, entry)
    if not isinstance(entry, Mapping):
        raise TraceError(here, f"it is {quoted(entry)}", "a description, a list of prompts, or a mapping with these")
    _check_keys(here, entry, ("prompts", "questions", "description"))
    description = entry.get("description")
    if description is not None and not isinstance(description, str):
        raise TraceError(f"{here}: description", f"it is {quoted(description)}", "a sentence")
    prompts = _prompts(here, entry["prompts"]) if "prompts" in entry else described(name, description).prompts
    asked = _sentences(f"{here}: questions", entry.get("questions", []), empty=True)
    return Role(name, prompts, asked, description, judged=name != DEFAULT)


def _role_file(where: str, name: str, data: Any) -> Role:
    """A role file of the assistant-axis repository."""
    expected = '{"instruction": [{"pos": ...}], "questions": [...]}, as the assistant-axis repository has role files'
    entries = data.get("instruction") if isinstance(data, Mapping) else None
    if not isinstance(entries, list) or not entries:
        raise TraceError(where, 'there is no list "instruction" in it', expected)
    prompts = [entry.get("pos") if isinstance(entry, Mapping) else entry for entry in entries]
    asked = _sentences(f"{where}: questions", data.get("questions", []), empty=True)
    return Role(name, _prompts(where, prompts), asked, _role_said(data), judged=name != DEFAULT)


def _role_said(data: Mapping[str, Any]) -> str | None:
    description = data.get("description")
    return description if isinstance(description, str) else None


def _traits(where: str, data: Any) -> Iterator[Trait]:
    if not isinstance(data, Mapping):
        raise TraceError(f"{where}: traits", f"it is {quoted(data)}", "traits by name")
    for name, entry in data.items():
        here = f"{where}: trait {name}"
        if isinstance(entry, Mapping) and "instruction" in entry:
            yield _trait_file(here, str(name), entry)
            continue
        if not isinstance(entry, Mapping):
            raise TraceError(here, f"it is {quoted(entry)}", '{"positive": [...], "negative": [...]}')
        _check_keys(here, entry, ("positive", "negative", "questions", "description"))
        sides = [_prompts(f"{here}: {side}", entry.get(side)) for side in ("positive", "negative")]
        asked = _sentences(f"{here}: questions", entry.get("questions", []), empty=True)
        yield Trait(str(name), sides[0], sides[1], asked, entry.get("description"))


def _trait_file(where: str, name: str, data: Any) -> Trait:
    pairs = data.get("instruction") if isinstance(data, Mapping) else None
    if not isinstance(pairs, list) or not pairs or not all(isinstance(pair, Mapping) for pair in pairs):
        raise TraceError(where, 'there is no list "instruction" of pairs in it', _TRAIT)
    sides = [_prompts(f"{where}: {side}", [pair.get(side) for pair in pairs]) for side in ("pos", "neg")]
    asked = _sentences(f"{where}: questions", data.get("questions", []), empty=True)
    return Trait(name, sides[0], sides[1], asked, _role_said(data))


def _prompts(where: str, prompts: Any) -> tuple[str, ...]:
    if not isinstance(prompts, list | tuple) or not prompts or not all(isinstance(each, str) for each in prompts):
        raise TraceError(where, f"its prompts are {quoted(prompts)}", "a list of system prompts, empty text for none")
    return tuple(prompts)


def _sentences(where: str, said: Any, *, empty: bool = False) -> tuple[str, ...]:
    right = isinstance(said, list) and all(isinstance(each, str) and each.strip() for each in said)
    if not right or not (said or empty or where.endswith("questions")):
        raise TraceError(where, f"its questions are {quoted(said)}", "a list of questions, at least one")
    return tuple(said)


def _question(where: str, row: Any) -> Any:
    if isinstance(row, Mapping):
        row = row.get("question")
    if not isinstance(row, str) or not row.strip():
        raise TraceError(where, f"its question is {quoted(row)}", _QUESTIONS)
    return row


def _check_keys(where: str, data: Mapping[Any, Any], known: tuple[str, ...]) -> None:
    for key in data:
        if key not in known:
            raise TraceError(where, f"it has {quoted(key)}", f"{', '.join(known)} and no other")


def _text(path: Path, expected: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise TraceError(str(path), "there is no such file", expected) from None
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(str(path), f"it cannot be read ({type(error).__name__})", expected) from None


def _json(path: Path, expected: str) -> Any:
    try:
        return json.loads(_text(path, expected))
    except ValueError as error:
        raise TraceError(str(path), f"it is no JSON ({error})", expected) from None
