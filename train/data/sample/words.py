"""The words of the sample shop, read from `words.toml` beside this file."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Kind:
    """One kind of product.

    Attributes:
        noun: what the title calls it.
        also: what people call it too; becomes the synonyms table and part of the queries.
        department: first level of the category.
        aisle: second level of the category.
        brands: who makes it.
        colors: its colors; empty where queries do not name one.
        materials: its materials; empty where queries do not name one.
        sizes: sizes or capacities.
        styles: adjectives.
        features: what follows "with" in the title.
        price: lowest and highest price.
        goes_with: nouns that are bought together with it.
        used_up: people buy the very same product again.
    """

    noun: str
    also: tuple[str, ...]
    department: str
    aisle: str
    brands: tuple[str, ...]
    colors: tuple[str, ...]
    materials: tuple[str, ...]
    sizes: tuple[str, ...]
    styles: tuple[str, ...]
    features: tuple[str, ...]
    price: tuple[float, float]
    goes_with: tuple[str, ...]
    used_up: bool

    @property
    def category(self) -> str:
        """The category path as the products table writes it."""
        return f"{self.department} > {self.aisle} > {self.noun.capitalize()}"


@dataclass(frozen=True)
class Words:
    """All words of the sample shop; `word_synonyms` maps an attribute word to what people say instead."""

    kinds: tuple[Kind, ...]
    series: tuple[str, ...]
    sellers: tuple[str, ...]
    word_synonyms: Mapping[str, tuple[str, ...]]


def load_words() -> Words:
    """Read the words."""
    data = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))
    return Words(
        kinds=tuple(_kind(department, kind) for department in data["departments"] for kind in department["kinds"]),
        series=_split(data["series"]),
        sellers=_split(data["sellers"]),
        word_synonyms={word: _split(others) for word, others in data["word_synonyms"].items()},
    )


def _kind(department: Mapping[str, Any], kind: Mapping[str, Any]) -> Kind:
    noun, *also = _split(kind["names"])
    return Kind(
        noun=noun,
        also=tuple(also),
        department=department["name"],
        aisle=kind["aisle"],
        brands=_split(department["brands"]),
        # Nobody asks for soap, seeds or tea by color.
        colors=() if kind.get("used_up") else _split(department["colors"]),
        materials=_split(kind.get("materials", "")),
        sizes=_split(kind["sizes"]),
        styles=_split(kind["styles"]),
        features=_split(kind.get("features", "")),
        price=(float(kind["price"][0]), float(kind["price"][1])),
        goes_with=_split(kind.get("goes_with", "")),
        used_up=bool(kind.get("used_up", False)),
    )


def _split(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
