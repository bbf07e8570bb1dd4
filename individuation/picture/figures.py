"""Figures of matplotlib as files: the same figure, the same bytes."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def saved(figure: Figure, format_: str, title: str, dpi: int) -> bytes:
    """A figure as `svg`, `png` or `pdf`, without the time at which it was made.

    To be called within the `rc_context` that the figure was drawn in.
    """
    metadata: dict[str, Any] = {"Title": title}
    if format_ == "svg":
        metadata["Date"] = None
    if format_ == "pdf":
        metadata["CreationDate"] = None
    file = io.BytesIO()
    figure.savefig(file, format=format_, dpi=dpi, metadata=metadata)
    made = file.getvalue()
    # Which program made it, with addresses elsewhere that a picture has no need of.
    return re.sub(rb" *<metadata>.*?</metadata>\n", b"", made, flags=re.S) if format_ == "svg" else made
