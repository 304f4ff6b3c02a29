"""Cleans texts, and reports what cleaning left out or changed."""

import html
import re
import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

import ftfy

from edge_runtime.contract.text import MAX_TEXT_CHARS, normalize_text
from train.data.tables import Dropped, Product
from train.errors import ShopError

MAX_DESCRIPTION_CHARS = 20_000
"""Longer descriptions are cut here; they are displayed and searched by words, never encoded."""

MAX_EXAMPLES = 3
"""Places that the account names for each reason; they tell what to look for, the count tells how much of it there is."""

MAX_REPORTED = 100
"""Refused cells of one column that an error lists, the others are counted: about what a person reads in one go."""

# A tag ends within 300 characters; "a < b" and a "<" that is never closed stay.
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,300}>")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u200b\u2060\ufeff]+")
# What the first byte of a UTF-8 sequence becomes in the code pages that are mistaken for it: Latin-1, Windows-1251, Mac.
_MAYBE_MISREAD = re.compile("[\u00c2-\u00f4\u0412\u0413\u0420\u0421\u0432\u201a\u221a]")
_NOT_A_WORD = re.compile(r"[\W_]+")


class DropLog:
    """Counts what cleaning did, by table and reason, with the first places of each; gathers what makes a shop unusable."""

    def __init__(self) -> None:
        self._refused: dict[str, list[str]] = defaultdict(list)
        self._counts: dict[tuple[str, str], int] = defaultdict(int)
        self._examples: dict[tuple[str, str], list[str]] = defaultdict(list)

    def note(self, table: str, reason: str, *examples: str, count: int = 1) -> None:
        """Count `count` more cases of `reason` in `table` (none adds nothing); `examples` say where some of them are."""
        if count:
            key = (table, reason)
            self._counts[key] += count
            self._examples[key].extend(examples[: MAX_EXAMPLES - len(self._examples[key])])

    def refuse(self, column: str, sentence: str) -> None:
        """Remember a cell that makes the shop unusable: the file and column that it is in, and what is wrong with it."""
        self._refused[column].append(sentence)

    def raise_refused(self) -> None:
        """Report at once everything that was refused.

        Raises:
            ShopError: something was; its text is the one sentence, or a line for each.
        """
        lines: list[str] = []
        for column, sentences in self._refused.items():
            lines += sentences[:MAX_REPORTED]
            if len(sentences) > MAX_REPORTED:
                lines.append(f"{column}: {len(sentences) - MAX_REPORTED:,} more rows like these")
        if lines:
            raise ShopError("\n  ".join(["several rows are wrong:", *lines]) if len(lines) > 1 else lines[0])

    def dropped(self) -> tuple[Dropped, ...]:
        """Return the account in the order in which the reasons first appeared."""
        return tuple(
            Dropped(table=table, reason=reason, count=count, examples=tuple(self._examples[table, reason]))
            for (table, reason), count in self._counts.items()
        )


def repair_encoding(text: str) -> str:
    """Return `text`, put right where it was once decoded with the wrong character set ("cafÃ©")."""
    # This quick check avoids the search for misread characters in most texts, which takes a millisecond a page.
    return ftfy.fix_encoding(text) if not text.isascii() and _MAYBE_MISREAD.search(text) else text


def _repair(text: str) -> str:
    return repair_encoding(html.unescape(text) if "&" in text else text)


def clean_short(text: str | None) -> str | None:
    """Return a title, brand or other short field as the device will see it; None when nothing is left.

    NFKC, no control characters, single spaces, at most `MAX_TEXT_CHARS` characters.
    """
    return normalize_text(_repair(text[:MAX_TEXT_CHARS])) or None if text else None


def clean_long(text: str | None) -> str | None:
    """Return a description without markup and control characters, at most `MAX_DESCRIPTION_CHARS`; None when empty."""
    if not text:
        return None
    plain = _TAG.sub(" ", _repair(text[:MAX_DESCRIPTION_CHARS]))
    return " ".join(_CONTROL.sub(" ", unicodedata.normalize("NFKC", plain)).split()) or None


def note_duplicates(products: Sequence[Product], places: Sequence[str], table: str, log: DropLog) -> None:
    """Report products that say the same as an earlier one; all of them stay, since purchases refer to their ids.

    Exact: equal in every field but the id. Near: the same words in title, brand and attributes, whatever their order,
    case and punctuation.
    """
    exact = _repeats((_content(product) for product in products), places)
    for index, first in exact.items():
        log.note(table, "kept, but says the same as another product in every field", f"{places[index]} = {first}")
    near = _repeats((_words(product) for product in products), places)
    for index, first in near.items():
        if index not in exact:
            log.note(table, "kept, but has the same words as another product", f"{places[index]} ~ {first}")


def _repeats(keys: Iterable[Hashable], places: Sequence[str]) -> dict[int, str]:
    first_place: dict[Hashable, str] = {}
    repeats: dict[int, str] = {}
    for index, key in enumerate(keys):
        if key in first_place:
            repeats[index] = first_place[key]
        else:
            first_place[key] = places[index]
    return repeats


def _content(product: Product) -> Hashable:
    attributes = tuple(sorted(product.attributes.items()))
    return (
        product.title,
        product.description,
        product.brand,
        product.category,
        attributes,
        product.price,
        product.group,
    )


def _words(product: Product) -> Hashable:
    parts = (product.title, product.brand or "", *product.attributes.values())
    return frozenset(_NOT_A_WORD.sub(" ", " ".join(parts).casefold()).split()) or product.product_id
