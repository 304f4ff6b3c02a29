"""Typing errors as on a keyboard: a neighboring key, two letters swapped, one missing, one doubled."""

import numpy as np

_SECOND_EDIT_ABOVE = 12
"""Texts longer than this many characters get a second typing error in a quarter of the cases."""

# Which keys touch which on a QWERTY keyboard.
_NEIGHBORS = {
    "a": "qwsz", "b": "vghn", "c": "xdfv", "d": "serfcx", "e": "wsdr", "f": "drtgvc", "g": "ftyhbv", "h": "gyujnb",
    "i": "ujko", "j": "huikmn", "k": "jiolm", "l": "kop", "m": "njk", "n": "bhjm", "o": "iklp", "p": "ol", "q": "wa",
    "r": "edft", "s": "awedxz", "t": "rfgy", "u": "yhji", "v": "cfgb", "w": "qase", "x": "zsdc", "y": "tghu", "z": "asx",
}  # fmt: skip


def with_typing_error(text: str, random: np.random.Generator) -> str:
    """Return `text` with one typing error, in long texts sometimes two; text without letters comes back as it is."""
    text = _one_error(text, random)
    if len(text) > _SECOND_EDIT_ABOVE and random.random() < 0.25:
        text = _one_error(text, random)
    return text


def _one_error(text: str, random: np.random.Generator) -> str:
    places = [place for place, character in enumerate(text) if character.isalpha()]
    if not places:
        return text
    place = places[random.integers(len(places))]
    before, character, after = text[:place], text[place], text[place + 1 :]
    neighbors = _NEIGHBORS.get(character.lower(), "")
    kind = random.integers(4)
    if kind == 0 and neighbors:
        return before + neighbors[random.integers(len(neighbors))] + after
    if kind == 1 and after[:1].isalpha():
        return before + after[0] + character + after[1:]
    if kind == 2 and len(places) > 2:
        return before + after
    return before + character + character + after
