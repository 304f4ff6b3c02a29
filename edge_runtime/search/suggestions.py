"""Completions of what is being typed: popular queries, brands, categories, titles, and words of the catalogue."""

from dataclasses import dataclass

from edge_runtime.contract.rows import quoted_term
from edge_runtime.contract.text import normalize_text
from edge_runtime.products.rows_database import RowsDatabase
from edge_runtime.search.lexical import LexicalIndex
from edge_runtime.search.spelling import fold_word, words_of

_MAX_PREFIX_WORDS = 8  # of a longer text, the last ones decide what comes next
_MIN_TITLE_CHARS = 3  # fewer letters begin a word of nearly every title
_MIN_TYPO_CHARS = 4  # shorter words are never corrected (lexical.py: `_edits_allowed`)
_SUGGESTIONS = (
    "SELECT text, kind FROM suggestion_words JOIN suggestions ON suggestion = suggestion_words.rowid "
    "WHERE suggestion_words MATCH ? ORDER BY weight DESC, suggestion LIMIT ?"
)
_TITLES = (
    "SELECT products.title FROM search JOIN products ON row = search.rowid WHERE search MATCH ? "
    "ORDER BY popularity DESC, row LIMIT ?"
)
_WORDS = "SELECT term FROM terms WHERE term >= ? AND term < ? ORDER BY products DESC, term LIMIT ?"
_LAST = "\U0010ffff"  # sorts after every character that a word can go on with


@dataclass(frozen=True)
class Suggestion:
    """One completion: the text to search for, and its kind: "query", "brand", "category", "product" or "word"."""

    text: str
    kind: str


class Suggestions:
    """Completions from one catalogue; may be used from any thread."""

    def __init__(self, database: RowsDatabase, lexical: LexicalIndex) -> None:
        """Look whether the catalogue has a table of suggestions; an older one has only words and titles."""
        self._database = database
        self._lexical = lexical
        self._has_table = bool(database.fetch("SELECT 1 FROM sqlite_master WHERE name = 'suggestions'"))

    def complete(self, prefix: str, count: int) -> tuple[Suggestion, ...]:
        """Return at most `count` completions of `prefix`, its last word unfinished, each text once.

        When nothing begins so, the words are read as the catalogue's nearest ones.
        """
        words = [fold_word(word) for word in words_of(normalize_text(prefix))]
        words = [word for word in words if word][-_MAX_PREFIX_WORDS:]
        if not words:
            return ()
        found = self._found(words, count)
        if not found and len(words[-1]) >= _MIN_TYPO_CHARS:
            query = self._lexical.understand(" ".join(words))
            if query.corrections:
                corrected = [query.corrections.get(word, (word,))[0] for word in words]
                found = self._found(corrected, count)
        return tuple(found.values())[:count]

    def _found(self, words: list[str], count: int) -> dict[str, Suggestion]:
        found: dict[str, Suggestion] = {}
        match = " ".join([*map(quoted_term, words[:-1]), f"{quoted_term(words[-1])}*"])
        if self._has_table:
            for text, kind in self._database.fetch(_SUGGESTIONS, (match, count)):
                found.setdefault(text.casefold(), Suggestion(text, kind))
        head = " ".join(words[:-1])
        for (term,) in self._database.fetch(_WORDS, (words[-1], words[-1] + _LAST, count)):
            text = f"{head} {term}".strip()
            if len(found) < count and (not head or self._any_product([*words[:-1], term])):
                found.setdefault(text.casefold(), Suggestion(text, "word"))
        if len(found) < count and len(words[-1]) >= _MIN_TITLE_CHARS:
            for (title,) in self._database.fetch(_TITLES, (f"{{title brand}} : ({match})", count)):
                found.setdefault(title.casefold(), Suggestion(title, "product"))
        return found

    def _any_product(self, words: list[str]) -> bool:
        match = " AND ".join(map(quoted_term, words))
        return bool(self._database.fetch("SELECT 1 FROM search WHERE search MATCH ? LIMIT 1", (match,)))
