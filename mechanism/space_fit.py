"""Fitting a persona space to a model: asked to be one role after another, it shows where its residual stream is then.

The way of Lu et al. 2026 for roles and the assistant axis, and of Chen et al. 2025 for traits: the residual stream is
averaged over the tokens of each reply that is kept (`mechanism.asking`), then over replies, at every block.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mechanism.asking import Asked, Fit, asked_for, groups_of, side
from mechanism.axes import assistant_axis, contrast, principal_axes
from mechanism.host import Host
from mechanism.judges.judge import Judge
from mechanism.role_cloud import RoleCloud
from mechanism.roles import DEFAULT, RoleSet
from mechanism.space import PersonaSpace
from mechanism.vectors import default_layer
from traces.errors import TraceError, quoted
from traces.new_file import new_file

ASSISTANT = "assistant"
"""The axis from the roles to the default."""

LEAST_KEPT = 0.25
"""A role of whose replies fewer are kept is left out of the space."""

_SETTINGS = "settings.json"

OnProgress = Callable[[str, int, int], None]
"""Told what is being asked for, how many are done, and of how many."""


def fit_space(
    host: Host,
    roles: RoleSet,
    *,
    name: str,
    folder: Path,
    fit: Fit | None = None,
    judge: Judge | None = None,
    on_progress: OnProgress | None = None,
) -> PersonaSpace:
    """Ask a model for all roles and traits, and make the space: axes, role cloud, and the coordinates of each reply.

    Axes: `assistant`, one for each trait, and `pc1`... where components are asked for. What is done is kept in
    `folder`, a role at a time, so that a run that was stopped goes on there and ends as it would have. Without a judge
    every reply with words in it is kept.

    Raises `TraceError` where `folder` holds a run with other settings, where the default or fewer than two roles speak
    as they should, or where a name is used twice.
    """
    fit = fit or Fit()
    layer = default_layer(host.layers, host.hidden, host.name) if fit.layer is None else fit.layer
    if not 0 <= layer < host.layers:
        raise TraceError("--layer", f"it is {layer}", f"a block of {host.name}, 0 to {host.layers - 1}")
    _check(roles, fit)
    _settle(folder, _settings(host, roles, fit, judge, layer))
    groups = list(groups_of(host, roles, fit))
    found: dict[str, Asked] = {}
    for number, group in enumerate(groups):
        if on_progress is not None:
            on_progress(f"Asking for {group.name}", number, len(groups))
        part = folder / f"{number:04d}.safetensors"
        if not part.is_file():
            _save(part, asked_for(host, group, fit, judge, layer))
        found[group.name] = _load(part)
    return _space(host, roles, found, name=name, layer=layer, fit=fit, judge=judge)


def _space(
    host: Host, roles: RoleSet, found: dict[str, Asked], *, name: str, layer: int, fit: Fit, judge: Judge | None
) -> PersonaSpace:
    kept = {group: _enough(each) for group, each in found.items()}
    names = [role.name for role in roles.roles if kept[role.name]]
    for group in (DEFAULT, *(side(trait, positive) for trait in roles.traits for positive in (True, False))):
        if not kept[group]:
            told = f"{len(found[group].states)} of {found[group].asked} replies for {quoted(group)} can be used"
            raise TraceError(f"space of {host.name}", told, "at least a quarter; more --per-role, or other prompts")
    if len(names) < 2:
        expected = "two roles that the model speaks as; other prompts, more --per-role, or another judge"
        raise TraceError(f"space of {host.name}", f"{len(names)} of {len(roles.roles)} roles can be used", expected)
    default, means = found[DEFAULT].mean, torch.stack([found[role].mean for role in names])
    vectors = {ASSISTANT: assistant_axis(default, means)}
    signs = {ASSISTANT: "+ is assistant"}
    for trait in roles.traits:
        vectors[trait.name] = contrast(found[side(trait, True)].mean, found[side(trait, False)].mean)
        signs[trait.name] = f"+ is {trait.name}"
    if fit.components:
        principal = principal_axes(means, min(fit.components, len(names) - 1), layer=layer, default=default)
        for number, axis in enumerate(principal, 1):
            vectors[f"pc{number}"] = axis
            signs[f"pc{number}"] = "+ is the side of the default"
    cloud = RoleCloud(
        (DEFAULT, *names),
        torch.cat([default[None, layer], means[:, layer]]).float().numpy(),
        DEFAULT,
        tuple(len(found[role].states) for role in (DEFAULT, *names)),
    )
    used = [group for group in found if kept[group]]
    space = PersonaSpace(
        name,
        tuple(vectors),
        torch.stack(list(vectors.values())).float().contiguous(),
        layer,
        model_name=host.name,
        model_digest=host.digest,
        signs=signs,
        source="individuate space fit",
        made=_made(host, roles, found, fit, judge, left_out=[role.name for role in roles.roles if not kept[role.name]]),
        cloud=cloud,
    )
    basis = torch.stack([space.direction(axis) for axis in space.axes], dim=1)
    return space.replaced(
        points=torch.cat([found[group].states.float() @ basis for group in used]).contiguous(),
        point_roles=tuple(group for group in used for _ in range(len(found[group].states))),
    )


def _made(
    host: Host, roles: RoleSet, found: dict[str, Asked], fit: Fit, judge: Judge | None, left_out: list[str]
) -> dict[str, Any]:
    return {
        "format": "individuate space fit",
        "rows": "row L is the output of block L",
        "methods": {
            "assistant": "mean(default) - mean(roles' means), Lu et al. 2026",
            "traits": "mean(positive) - mean(negative), Chen et al. 2025",
            "pc": "principal components of the roles' means, each layer for itself",
        },
        "pooling": "mean over the content tokens of a reply, then over replies",
        "roles": {"source": roles.source, "digest": roles.digest, "number": len(roles.roles), "left out": left_out},
        "traits": [trait.name for trait in roles.traits],
        "judge": None if judge is None else judge.name,
        "replies": {
            group: {"asked": each.asked, "kept": len(each.states), "broken": each.broken, "other": each.other}
            for group, each in found.items()
        },
        "template_options": dict(host.template.options),
        "sampling": {"temperature": fit.temperature, "top_p": fit.top_p, "most_tokens": fit.most},
        "seed": fit.seed,
        "versions": host.versions(),
        "dtype": str(host.dtype).removeprefix("torch."),
    }


def _enough(found: Asked) -> bool:
    return len(found.states) >= max(2, LEAST_KEPT * found.asked)


def _check(roles: RoleSet, fit: Fit) -> None:
    names = [DEFAULT, *(role.name for role in roles.roles)]
    names += [side(trait, positive) for trait in roles.traits for positive in (True, False)]
    axes = [ASSISTANT, *(trait.name for trait in roles.traits), *(f"pc{n + 1}" for n in range(fit.components))]
    for kind, used in (("role", names), ("axis", axes)):
        if (twice := next((name for name in used if used.count(name) > 1), None)) is not None:
            raise TraceError(roles.source, f"there would be two of the {kind} {quoted(twice)}", "names that differ")
    if fit.components >= len(roles.roles):
        found = f"{fit.components} components of {len(roles.roles)} roles"
        raise TraceError("--components", found, "fewer components than there are roles")


# --- what is kept while it goes on


def _settings(host: Host, roles: RoleSet, fit: Fit, judge: Judge | None, layer: int) -> dict[str, Any]:
    return {
        "model": host.digest, "dtype": str(host.dtype), "roles": roles.digest, "layer": layer,
        "judge": None if judge is None else judge.name, "per_role": fit.per_role, "seed": fit.seed,
        "temperature": fit.temperature, "top_p": fit.top_p, "most": fit.most, "template": host.template.digest,
    }  # fmt: skip


def _settle(folder: Path, settings: dict[str, Any]) -> None:
    """A folder for what is done, with the settings that it was done with. Raises `TraceError` where it has others."""
    path = folder / _SETTINGS
    if not path.is_file():
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            found = f"it cannot be made ({error.strerror})"
            raise TraceError(str(folder), found, "a folder that you may write to") from None
        with new_file(path) as partial:
            partial.write_text(json.dumps(settings), encoding="utf-8")
        return
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        there = None
    if there != settings:
        other = [key for key in settings if not isinstance(there, dict) or there.get(key) != settings[key]]
        raise TraceError(
            str(folder),
            f"a run that was stopped there had another {', '.join(other)}",
            "the same command, or --restart",
        )


def _save(path: Path, found: Asked) -> None:
    counts = {key: str(getattr(found, key)) for key in ("asked", "broken", "other")}
    with new_file(path) as partial:
        save_file({"mean": found.mean.contiguous(), "states": found.states.contiguous()}, partial, counts)


def _load(path: Path) -> Asked:
    try:
        with safe_open(path, framework="pt") as file:
            counts = {key: int(value) for key, value in (file.metadata() or {}).items()}
            return Asked(file.get_tensor("mean"), file.get_tensor("states"), **counts)
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        found = f"it is damaged ({type(error).__name__})"
        raise TraceError(str(path), found, "the same command with --restart") from None
