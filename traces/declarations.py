"""What a trace document declares before its conversations: models, spaces and caches that hold together."""

from __future__ import annotations

from collections.abc import Mapping

from traces.document import place_of
from traces.errors import TraceError, UnknownNameError, quoted
from traces.identity import find_model, has_base_cycle, model_identities
from traces.text import Place, Source
from traces.vocabulary import KVCache, Model, Space, TraceDocument


def check_declarations(source: Source, document: TraceDocument) -> None:
    """Refuse declarations that contradict each other or refer to nothing. Raises `TraceError` with the place."""
    if not document.models:
        raise TraceError(source.name, "models is empty", "at least one model")
    cycle = has_base_cycle(document.models)
    if cycle is not None:
        where = place_of(source, ("models", cycle, "base"))
        raise TraceError(where, "its base leads back to itself", "a base that is another model")
    _check_spaces(source, document.models, document.spaces, ("spaces",))
    for name, labelling in document.labellings.items():
        if name == "stated" or name in document.spaces:
            where = place_of(source, ("labellings", name))
            raise TraceError(where, f"the labelling {quoted(name)} has the name of the trace's own", "another name")
        _check_spaces(source, document.models, labelling.spaces, ("labellings", name, "spaces"))
    identity = model_identities(document.models)
    for name, cache in document.caches.items():
        _check_cache(place_of(source, ("caches", name)), cache, document, identity)
    _check_derivations(source, document.caches)


def _check_spaces(source: Source, models: Mapping[str, Model], spaces: Mapping[str, Space], at: Place) -> None:
    for name, space in spaces.items():
        if name == "stated":
            where = place_of(source, (*at, name))
            raise TraceError(where, 'a space is named "stated"', "another name: stated regions go by it")
        if not find_model(models, space.model):
            raise UnknownNameError(place_of(source, (*at, name, "model")), "model", space.model, models)


def _check_cache(where: str, cache: KVCache, document: TraceDocument, identity: Mapping[str, str]) -> None:
    if cache.model not in document.models:
        raise UnknownNameError(where, "model", cache.model, document.models)
    if cache.server is not None and document.servers is not None and cache.server not in document.servers:
        raise UnknownNameError(where, "server", cache.server, document.servers)
    for span in cache.spans:
        if span.source is not None and span.source not in document.caches:
            raise UnknownNameError(where, "cache", span.source, document.caches)
        if span.server is not None and document.servers is not None and span.server not in document.servers:
            raise UnknownNameError(where, "server", span.server, document.servers)
    if cache.source is None:
        if cache.how in ("transferred", "edited"):
            raise TraceError(where, f"it was {cache.how}, but `from` is missing", "the cache that it was derived from")
        return
    if cache.source not in document.caches:
        raise UnknownNameError(where, "cache", cache.source, document.caches)
    origin = document.caches[cache.source].model
    if identity.get(origin) != identity[cache.model]:
        found = f"it is derived from {cache.source}, a cache of another model"
        raise TraceError(where, found, "a cache of its own model: a cache means nothing to other weights")


def _check_derivations(source: Source, caches: Mapping[str, KVCache]) -> None:
    sound: set[str] = set()
    for name in caches:
        chain: dict[str, None] = {}
        current: str | None = name
        while current is not None and current not in sound:
            if current in chain:
                where = place_of(source, ("caches", name))
                raise TraceError(where, "its derivation leads back to itself", "a cache that came before it")
            chain[current] = None
            current = caches[current].source
        sound.update(chain)
