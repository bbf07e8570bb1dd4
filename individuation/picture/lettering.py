"""How wide text is, and how it is cut to fit; without any font at hand.

Widths are those of DejaVu Sans, the widest of the sans-serif fonts that the pictures name: what fits by this measure
fits in the others.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

_ASCII = (
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, 636, 636, 636, 636, 636, 636, 636,
    636, 636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632, 575, 775, 752, 295, 295, 656, 557, 863,
    748, 787, 603, 787, 695, 635, 611, 732, 684, 989, 685, 611, 685, 390, 337, 390, 838, 500, 500, 613, 635, 550, 635,
    615, 352, 635, 634, 278, 278, 579, 278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592, 818, 592, 592, 525, 636,
    337, 636, 838,
)  # fmt: skip
"""Advance widths of U+0020 to U+007E in thousandths of the size."""

_ASCII_BOLD = (
    348, 456, 521, 838, 696, 1002, 872, 306, 457, 457, 523, 838, 380, 415, 380, 365, 696, 696, 696, 696, 696, 696, 696,
    696, 696, 696, 400, 400, 838, 838, 838, 580, 1000, 774, 762, 734, 830, 683, 683, 821, 837, 372, 372, 775, 637, 995,
    837, 850, 733, 850, 770, 720, 682, 812, 774, 1103, 771, 724, 725, 457, 365, 457, 838, 500, 500, 675, 716, 593, 716,
    678, 435, 716, 712, 343, 343, 665, 343, 1042, 712, 687, 716, 716, 493, 595, 478, 712, 652, 924, 645, 652, 582, 712,
    365, 712, 838,
)  # fmt: skip
"""The same of DejaVu Sans Bold."""

_OTHERS = {"·": 318, "–": 500, "−": 838, "…": 1000, "—": 1000}
_BOLDER = 1.17

_UNSHOWN = dict.fromkeys(
    (*range(32), *range(127, 160), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F), " "
)
"""Controls of lines, terminals and the direction of writing: a name must not turn round what stands beside it."""


def plain(text: str) -> str:
    """A text as it may be drawn: one line, without controls or what no text format can hold.

    >>> plain("a\\u202eb\\nc\\ud800")
    'a b c\\ufffd'
    """
    text = text.translate(_UNSHOWN)
    if any(0xD800 <= ord(c) <= 0xDFFF or c in "\ufffe\uffff" for c in text):
        text = "".join("\ufffd" if 0xD800 <= ord(c) <= 0xDFFF or c in "\ufffe\uffff" else c for c in text)
    return text


@lru_cache(4096)
def _thousandths(character: str, bold: bool = False) -> float:
    code = ord(character)
    if 32 <= code < 127:
        return (_ASCII_BOLD if bold else _ASCII)[code - 32]
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    if character in _OTHERS:
        return _OTHERS[character]
    if unicodedata.east_asian_width(character) in "WF":
        return 1250 if unicodedata.category(character) == "So" else 1000
    return (760 if code < 0x0700 else 1000) * (_BOLDER if bold else 1.0)


def text_width(text: str, size: float, bold: bool = False) -> float:
    """The width of a text in pixels at a size in pixels.

    >>> text_width("mind", 10.0)
    25.21
    """
    return sum(_thousandths(character, bold) for character in text) * size / 1000


def shortened(text: str, width: float, size: float, bold: bool = False) -> str:
    """As much of a text as fits in a width, with an ellipsis where something was left out; "" where nothing fits.

    >>> shortened("instance-persona", 60, 10.0), shortened("thread", 60, 10.0)
    ('instance-…', 'thread')
    """
    text = plain(text)
    if text_width(text, size, bold) <= width + 0.01:
        return text
    room = width - text_width("…", size, bold)
    kept = 0
    used = 0.0
    for character in text:
        used += text_width(character, size, bold)
        if used > room:
            break
        kept += 1
    # Never between a letter and what belongs to it.
    while 0 < kept < len(text) and (text[kept - 1] == "\u200d" or not _thousandths(text[kept])):
        kept -= 1
    return f"{text[:kept].rstrip()}…" if kept else ""


def wrapped(text: str, width: float, size: float) -> list[str]:
    """A text in lines that fit in a width; a word that does not fit by itself is shortened.

    >>> wrapped("one colour and number, one mind", 100, 10.0)
    ['one colour and', 'number, one mind']
    """
    lines = [""]
    for word in plain(text).split():
        longer = f"{lines[-1]} {word}".strip()
        if text_width(longer, size) <= width or not lines[-1]:
            lines[-1] = shortened(longer, width, size)
        else:
            lines.append(shortened(word, width, size))
    return lines
