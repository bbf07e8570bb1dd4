"""When two models are the same weights, and what a model is called by (semantics.md §2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from traces.vocabulary import Model


def model_identities(models: Mapping[str, Model]) -> dict[str, str]:
    """For each model key the key that stands for its weights: digests decide, else names (semantics.md §2).

    A model without a digest joins the one digest that bears its name; where several do, it stays apart.

    >>> model_identities({"a": Model(digest="d"), "b": Model(name="x", digest="d"), "c": Model(name="x"), "d": Model()})
    {'a': 'a', 'b': 'a', 'c': 'a', 'd': 'd'}
    """
    by_digest: dict[str, str] = {}
    digests_of_name: dict[str, set[str]] = {}
    for key, model in models.items():
        if model.digest is not None:
            by_digest.setdefault(model.digest, key)
            digests_of_name.setdefault(model.name or key, set()).add(model.digest)
    by_name: dict[str, str] = {}
    identity: dict[str, str] = {}
    for key, model in models.items():
        name = model.name or key
        if model.digest is not None:
            identity[key] = by_digest[model.digest]
        elif len(digests_of_name.get(name, ())) == 1:
            identity[key] = by_digest[next(iter(digests_of_name[name]))]
        else:
            identity[key] = by_name.setdefault(name, key)
    return identity


def find_model(models: Mapping[str, Model], wanted: str) -> list[str]:
    """The keys of the models that go by this key, name or digest: the first of the three that any model bears."""
    if wanted in models:
        return [wanted]
    for field in ("name", "digest"):
        found = [key for key, model in models.items() if getattr(model, field) == wanted]
        if found:
            return found
    return []


def models_named(models: Mapping[str, Model], wanted: str) -> list[str]:
    """The keys of all models whose weights go by this key, name or digest, whichever key they have here.

    >>> models_named({"a": Model(digest="d"), "b": Model(digest="d")}, "b")
    ['a', 'b']
    """
    identity = model_identities(models)
    found = {identity[key] for key in find_model(models, wanted)}
    return [key for key in models if identity[key] in found]


def base_identities(models: Mapping[str, Model]) -> dict[str, str]:
    """For each model key what stands for the given model once fine-tuned ones count as their base (reading
    `weights=base`).

    The root of the chain of `base`; a base that is not in the trace stands for itself under its own name.

    >>> base_identities({"a": Model(), "b": Model(base="a"), "c": Model(base="elsewhere/x")})
    {'a': 'a', 'b': 'a', 'c': 'elsewhere/x'}
    """
    exact = model_identities(models)
    bases = _bases(models, exact)

    def root(identity: str) -> str:
        seen: set[str] = set()
        while identity in bases and identity not in seen:
            seen.add(identity)
            found = find_model(models, bases[identity])
            if not found:
                return bases[identity]
            identity = exact[found[0]]
        return identity

    return {key: root(exact[key]) for key in models}


def has_base_cycle(models: Mapping[str, Model]) -> str | None:
    """A model key whose chain of `base` comes back to its own weights, or None.

    >>> has_base_cycle({"a": Model(base="b"), "b": Model(base="a")})
    'a'
    """
    exact = model_identities(models)
    bases = _bases(models, exact)
    for key in models:
        seen: set[str] = set()
        current = exact[key]
        while current in bases:
            if current in seen:
                return key
            seen.add(current)
            found = find_model(models, bases[current])
            if not found:
                break
            current = exact[found[0]]
    return None


def _bases(models: Mapping[str, Model], exact: Mapping[str, str]) -> dict[str, str]:
    """What each set of weights names as its base; where several keys of one set do, the first."""
    bases: dict[str, str] = {}
    for key, model in models.items():
        if model.base is not None:
            bases.setdefault(exact[key], model.base)
    return bases


def names_only(models: Iterable[Model]) -> bool:
    """Whether some of several models are told apart by their names alone."""
    listed = list(models)
    return len(listed) > 1 and any(model.digest is None for model in listed)
