"""Correction of words that the catalogue does not contain: folding, trigrams and edit distance."""

import re
import unicodedata

_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """Return the runs of letters and digits in `text`, in order, as they are written."""
    return _WORD.findall(text)


def fold_word(word: str) -> str:
    """Return `word` in lower case without diacritics, as the full-text index keeps it: "Café" -> "cafe"."""
    decomposed = unicodedata.normalize("NFKD", word.lower())
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def trigrams_of(word: str) -> list[str]:
    """Return the distinct trigrams of a folded word and its two ends; "1" marks the beginning and "2" the end.

    "lamp" -> ["1l", "1la", "lam", "amp", "mp2", "p2"]. The ends let short words with swapped letters meet.
    """
    marked = f"1{word}2"
    inner = [marked[start : start + 3] for start in range(len(marked) - 2)]
    return list(dict.fromkeys([marked[:2], *inner, marked[-2:]]))


def edit_distance(left: str, right: str, *, limit: int) -> int:
    """Return how many letters must be added, removed, replaced or swapped with their neighbor; at most `limit` + 1.

    The optimal string alignment distance: a swapped pair counts 1 and is not edited again.
    """
    if abs(len(left) - len(right)) > limit:
        return limit + 1
    before: list[int] = []
    previous = list(range(len(right) + 1))
    for i, letter in enumerate(left, 1):
        current = [i]
        for j, other in enumerate(right, 1):
            cost = min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == right[j - 2] and left[i - 2] == other:
                cost = min(cost, before[j - 2] + 1)
            current.append(cost)
        if min(current) > limit:
            return limit + 1
        before, previous = previous, current
    return min(previous[-1], limit + 1)
