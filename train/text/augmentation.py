"""The texts that train the student besides item texts: real queries, synthetic ones, and ones with typing errors.

Each text comes with the text that the teacher encodes for it. For a misspelled or paraphrased text that is the original,
so the student learns to encode a query with a typing error like the correct one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from edge_runtime.contract.text import normalize_text
from train.data.tables import Product, Shop
from train.text.paraphrase import call_paraphraser, check_reference
from train.text.title_pieces import phrase, title_piece
from train.text.typing_errors import with_typing_error

T = TypeVar("T")
Origin = Literal["query", "title_pieces", "phrases", "noise", "synonyms", "word_order", "back_translation"]

_SHARES = ("title_pieces", "phrases", "noise", "synonyms", "word_order", "back_translation")

MAX_TERM_WORDS = 3
"""Terms of the synonyms table with more words are not looked for: they hardly occur in titles and queries."""

_TRIES_PER_TEXT = 4
"""Many attempts repeat an earlier text; after so many for each wanted one the shop has no more to give."""


@dataclass(frozen=True)
class TextSettings:
    """How many texts, and the share of each kind among those that are not real queries; a share of 0 switches it off.

    Attributes:
        count: texts in all; more when there are more real queries, which are always all taken.
        title_pieces: 1 to 6 words in a row from a title.
        phrases: brand, attribute values, category and product type put together.
        noise: a keyboard neighbor, a lost, doubled or swapped letter.
        synonyms: a term replaced by an alternative from the shop's table, in both directions.
        word_order: the words in another order.
        back_translation: paraphrased by `back_translator`; without one there are none.
        back_translator: "module:function", see train/text/paraphrase.py.
    """

    count: int = 20_000
    title_pieces: float = 0.4
    phrases: float = 0.2
    noise: float = 0.25
    synonyms: float = 0.1
    word_order: float = 0.05
    back_translation: float = 0.1
    back_translator: str = ""

    def __post_init__(self) -> None:
        """Refuse shares and a count below 0, and what names no function."""
        for name in ("count", *_SHARES):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 or more")
        if self.back_translator:
            check_reference(self.back_translator)


@dataclass(frozen=True)
class DistillationPair:
    """A text for the student, the text whose vector it shall reach, and where it comes from."""

    student_text: str
    teacher_text: str
    origin: Origin


def distillation_texts(shop: Shop, settings: TextSettings, *, seed: int) -> list[DistillationPair]:
    """Return texts to learn from: every real query of the shop first, then made ones up to `settings.count`.

    Student texts are distinct, whatever their case. A small shop may give fewer than asked for. Equal arguments give
    equal texts.

    Args:
        shop: its judged and unlabelled queries are the real ones.
        settings: see `TextSettings`.
        seed: of every random choice.

    Raises:
        ConfigError: `settings.back_translator` cannot be found or answers something other than paraphrases.
    """
    # Each kind has its own random numbers: other queries or shares do not change the texts of the others.
    pieces, phrases, random = (np.random.default_rng((seed, kind)) for kind in range(3))
    pool = _Pool()
    for query in [*(judgement.query for judgement in shop.judgements), *shop.queries]:
        pool.add(query, query, "query")
    queries = [pair.student_text for pair in pool.pairs]
    sources_of = {"synonyms": shop.synonyms, "back_translation": settings.back_translator}
    wanted = _split(
        max(0, settings.count - len(queries)),
        settings,
        without=[kind for kind, source in sources_of.items() if not source],
    )

    def made(make: Callable[[Product, np.random.Generator], str], own: np.random.Generator) -> tuple[str, str]:
        text = make(_any(shop.products, own), own)
        return text, text

    pool.fill("title_pieces", wanted["title_pieces"], lambda: made(title_piece, pieces))
    pool.fill("phrases", wanted["phrases"], lambda: made(phrase, phrases))
    clean = [pair.student_text for pair in pool.pairs[len(queries) :]]
    # Titles are damaged where neither title pieces nor phrases are asked for.
    bases = _Bases(queries, clean or [normalize_text(product.title) for product in shop.products], random)
    pool.fill("noise", wanted["noise"], lambda: _changed(bases.draw(), with_typing_error, random))
    reword = _Rewording(shop.synonyms)
    sources = [text for text in bases.all() if reword.applies_to(text)] if wanted["synonyms"] else []
    if sources:
        pool.fill("synonyms", wanted["synonyms"], lambda: _changed(_any(sources, random), reword, random))
    pool.fill("word_order", wanted["word_order"], lambda: _changed(bases.draw(), _reordered, random))
    if wanted["back_translation"]:
        own = np.random.default_rng((seed, 3))
        texts = list(dict.fromkeys(bases.all()))
        chosen = [texts[row] for row in own.permutation(len(texts))[: wanted["back_translation"]]]
        for text, paraphrase in zip(chosen, call_paraphraser(settings.back_translator, chosen), strict=True):
            pool.add(paraphrase, text, "back_translation")
    if settings.title_pieces:
        pool.fill("title_pieces", settings.count - len(pool.pairs), lambda: made(title_piece, pieces))
    return pool.pairs


class _Pool:
    """Pairs whose student texts are distinct; the first one to come stays."""

    def __init__(self) -> None:
        self.pairs: list[DistillationPair] = []
        self._seen: set[str] = set()

    def add(self, student_text: str, teacher_text: str, origin: Origin) -> bool:
        student_text, teacher_text = normalize_text(student_text), normalize_text(teacher_text)
        key = student_text.casefold()
        if not student_text or key in self._seen:
            return False
        self._seen.add(key)
        self.pairs.append(DistillationPair(student_text, teacher_text, origin))
        return True

    def fill(self, origin: Origin, count: int, make: Callable[[], tuple[str, str]]) -> None:
        """Add up to `count` pairs; a shop that cannot give as many distinct ones ends it early."""
        added = 0
        for _ in range(count * _TRIES_PER_TEXT):
            if added == count:
                return
            added += self.add(*make(), origin)


class _Bases:
    """Texts to damage: half the time a real query, where there are any."""

    def __init__(self, queries: Sequence[str], made: Sequence[str], random: np.random.Generator) -> None:
        self._queries = queries
        self._made = made
        self._random = random

    def draw(self) -> str:
        from_queries = self._queries and self._random.random() < 0.5
        return _any(self._queries if from_queries else self._made, self._random)

    def all(self) -> Iterator[str]:
        yield from self._queries
        yield from self._made


def _reordered(text: str, random: np.random.Generator) -> str:
    words = text.split()
    return " ".join(words[index] for index in random.permutation(len(words)))


class _Rewording:
    """Replaces a term of the shop's table by an alternative, or an alternative by its term."""

    def __init__(self, synonyms: Mapping[str, Sequence[str]]) -> None:
        self._table: dict[str, list[str]] = {}
        for term, alternatives in synonyms.items():
            for alternative in alternatives:
                self._table.setdefault(normalize_text(term).casefold(), []).append(normalize_text(alternative))
                self._table.setdefault(normalize_text(alternative).casefold(), []).append(normalize_text(term))

    def applies_to(self, text: str) -> bool:
        return bool(self._places(text))

    def __call__(self, text: str, random: np.random.Generator) -> str:
        words = text.split()
        start, size = _any(self._places(text), random)
        replacement = _any(self._table[" ".join(words[start : start + size]).casefold()], random)
        return " ".join([*words[:start], replacement, *words[start + size :]])

    def _places(self, text: str) -> list[tuple[int, int]]:
        """Return where terms stand: number of the first word, number of words."""
        words = text.casefold().split()
        spans = ((start, size) for start in range(len(words)) for size in range(1, MAX_TERM_WORDS + 1))
        return [
            (start, size)
            for start, size in spans
            if start + size <= len(words) and " ".join(words[start : start + size]) in self._table
        ]


def _split(count: int, settings: TextSettings, *, without: Sequence[str]) -> dict[str, int]:
    """Divide `count` by the shares; what has no source gives its part to the others."""
    shares = {name: 0.0 if name in without else float(getattr(settings, name)) for name in _SHARES}
    total = sum(shares.values())
    return {name: round(count * share / total) if total else 0 for name, share in shares.items()}


def _any(values: Sequence[T], random: np.random.Generator) -> T:
    return values[int(random.integers(len(values)))]


def _changed(
    text: str, change: Callable[[str, np.random.Generator], str], random: np.random.Generator
) -> tuple[str, str]:
    """Return the student's and the teacher's text; the student's is empty, and so refused, when nothing changed."""
    changed = change(text, random)
    return ("" if changed == text else changed), text
