"""Synonyms of a shop's words from a wordnet, such as the Open English WordNet (https://en-word.net, CC BY 4.0).

A word with many meanings has synonyms that are wrong in most places ("couch" may be a bed, or to put into words), so only
words of few meanings get any, and only those that the shop's own texts use.
"""

import gzip
import io
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import pyarrow as pa
import pyarrow.parquet as pq
import wn.lmf

from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.text import normalize_text
from train.data.column_rules import ColumnRule, list_of_texts, require_column, texts
from train.data.judgement_table import ALTERNATIVES
from train.data.table_files import SUFFIXES, find_table, load_table
from train.data.tables import Shop
from train.errors import ShopError
from train.text.augmentation import MAX_TERM_WORDS

SOURCE = "wordnet"
"""What the rows say of themselves in column `source`; the shop's own rows say nothing, or something else."""

_MEMBERS = ColumnRule('a JSON list of words like ["sofa", "couch"]', texts(list_of_texts))
MAX_SENSES = 2
# The first members of a synset are its common words; the later ones are rarely typed.
_MAX_ALTERNATIVES = 6
# Words of one or two letters are mostly units and articles.
_LEAST_CHARS = 3
_SCHEMA = pa.schema([("term", pa.string()), ("alternatives", pa.list_(pa.string())), ("source", pa.string())])


def read_synsets(path: Path) -> list[tuple[str, ...]]:
    """Return the members of each synset in the file at `path`, in its order.

    Args:
        path: WN-LMF (`.xml`, `.xml.gz`; https://globalwordnet.github.io/schemas), or a table (`.parquet`, `.csv`) whose
            column `members` holds JSON lists of words.

    Raises:
        ShopError: the file cannot be read or is neither.
    """
    name = path.name.lower()
    if name.endswith(".xml.gz"):
        with tempfile.TemporaryDirectory() as folder:
            return _read_lmf(_unpacked(path, Path(folder) / "wordnet.xml"), named=path)
    if name.endswith(".xml"):
        return _read_lmf(path, named=path)
    if path.suffix.lower() not in SUFFIXES:
        raise ShopError(f"expected a wordnet as .xml, .xml.gz (WN-LMF), .parquet or .csv, found {path}")
    table = load_table(path, required=("members",))
    return [tuple(words or ()) for words in require_column(table, "members", _MEMBERS)]


def _unpacked(path: Path, target: Path) -> Path:
    try:
        with gzip.open(path) as packed, target.open("wb") as plain:
            shutil.copyfileobj(packed, plain)
    except (OSError, EOFError, zlib.error) as error:
        raise ShopError(f"cannot unpack {path} ({error}); download it again") from error
    return target


def _read_lmf(path: Path, *, named: Path) -> list[tuple[str, ...]]:
    try:
        resource = wn.lmf.load(path, progress_handler=None)
    except (OSError, SyntaxError, ExpatError, KeyError, ValueError, wn.Error) as error:
        raise ShopError(f"cannot read {named} as WN-LMF ({error}); download it again, or convert it with wn") from error
    members: dict[str, list[str]] = {}
    lexicons: Any = resource["lexicons"]
    for entry in (entry for lexicon in lexicons for entry in lexicon.get("entries", ()) if "external" not in entry):
        for sense in entry.get("senses", ()):
            members.setdefault(sense["synset"], []).append(entry["lemma"]["writtenForm"])
    return [tuple(words) for words in members.values()]


def synonyms_of(
    shop: Shop, synsets: Iterable[Sequence[str]], *, max_senses: int = MAX_SENSES
) -> dict[str, tuple[str, ...]]:
    """Return term -> alternatives for the terms of the shop's titles and queries, in alphabetical order.

    Args:
        shop: whose words count.
        synsets: each the words of one meaning.
        max_senses: words in more synsets than this have too many meanings and are left out.
    """
    meanings: dict[str, list[tuple[str, ...]]] = {}
    for synset in synsets:
        members = tuple(dict.fromkeys(normalize_text(word.replace("_", " ")).casefold() for word in synset))
        for word in members:
            meanings.setdefault(word, []).append(members)
    used = _terms_of(shop, {word for word, found in meanings.items() if len(found) <= max_senses})
    alternatives = {
        word: tuple(dict.fromkeys(other for members in meanings[word] for other in members if other != word))
        for word in sorted(used)
    }
    return {word: others[:_MAX_ALTERNATIVES] for word, others in alternatives.items() if others}


def _terms_of(shop: Shop, words: set[str]) -> set[str]:
    found: set[str] = set()
    for text in _texts_of(shop):
        pieces = text.casefold().split()
        for size in range(1, MAX_TERM_WORDS + 1):
            found.update(
                term
                for start in range(len(pieces) - size + 1)
                if (term := " ".join(pieces[start : start + size])) in words
            )
    return {word for word in found if len(word) >= _LEAST_CHARS and not any(char.isdigit() for char in word)}


def _texts_of(shop: Shop) -> Iterator[str]:
    yield from (product.title for product in shop.products)
    yield from dict.fromkeys(judgement.query for judgement in shop.judgements)
    yield from shop.queries


def write_synonyms(folder: Path, synonyms: Mapping[str, Sequence[str]]) -> Path:
    """Write `synonyms` into the shop's table, beside its own rows and in place of an earlier wordnet's; return the file.

    Raises:
        ShopError: the table that is there cannot be read.
        StorageError: the disk is full, read-only or not permitted.
    """
    earlier = find_table(folder, "synonyms")
    rows = [] if earlier is None else _own_rows(earlier)
    rows += [{"term": term, "alternatives": list(found), "source": SOURCE} for term, found in synonyms.items()]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), buffer, compression="zstd")
    target = folder / "synonyms.parquet"
    write_bytes_atomically(target, buffer.getvalue())
    if earlier is not None and earlier != target:
        earlier.unlink()
    return target


def _own_rows(path: Path) -> list[dict[str, object]]:
    """Return the rows that no wordnet gave."""
    table = load_table(path, required=("term", "alternatives"))
    sources, terms = table.texts("source").to_pylist(), table.texts("term").to_pylist()
    listed = require_column(table, "alternatives", ALTERNATIVES)
    return [
        {"term": term, "alternatives": alternatives or [], "source": source}
        for term, alternatives, source in zip(terms, listed, sources, strict=True)
        if source != SOURCE
    ]
