"""The student's vocabulary: the teacher's WordPiece vocabulary reduced to the pieces that the shop's texts use."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from edge_runtime.contract.text import normalize_text
from train.errors import TrainingError

PADDING, UNKNOWN = "[PAD]", "[UNK]"
_BATCH = 4_096


@dataclass(frozen=True)
class CutVocabulary:
    """A tokenizer for the student.

    Attributes:
        tokenizer: WordPiece with [PAD] = 0 and [UNK] = 1, no special tokens added, no truncation, no padding.
        teacher_ids: int64 [vocabulary], the teacher's id of each piece.
        coverage: share of the corpus' teacher tokens whose piece was kept whole.
    """

    tokenizer: Tokenizer
    teacher_ids: npt.NDArray[np.int64]
    coverage: float


def cut_vocabulary(
    teacher_tokenizer: Tokenizer, corpora: Sequence[tuple[Sequence[str], float]], size: int
) -> CutVocabulary:
    """Keep the `size` pieces that the corpora use most, and every single character that they use.

    A word whose piece was cut is spelled with shorter pieces, so nothing becomes unknown that was known.

    Args:
        teacher_tokenizer: a WordPiece tokenizer.
        corpora: texts with the weight of each of their tokens.
        size: number of pieces, special ones included; fewer when the corpora use fewer.

    Raises:
        TrainingError: the teacher's tokenizer is not WordPiece.
    """
    description = json.loads(teacher_tokenizer.to_str())
    if description["model"].get("type") != "WordPiece":
        raise TrainingError(
            f"expected a teacher with a WordPiece tokenizer, found {description['model'].get('type')}; choose a BERT"
        )
    vocabulary: dict[str, int] = description["model"]["vocab"]
    # A BERT's file often says to pad, which would count as text, and to cut.
    uncut = Tokenizer.from_str(json.dumps(dict(description, truncation=None, padding=None)))
    counts = _count_pieces(uncut, corpora)
    pieces = {index: piece for piece, index in vocabulary.items()}
    prefix = description["model"].get("continuing_subword_prefix", "##")
    characters = {c for index in counts for c in pieces[index].removeprefix(prefix)}
    kept = [PADDING, UNKNOWN]
    kept += sorted(piece for c in characters for piece in (c, prefix + c) if piece in vocabulary)
    chosen = set(kept)
    special = {token["content"] for token in description.get("added_tokens", [])}
    for index, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if len(kept) >= size:
            break
        piece = pieces[index]
        if piece not in chosen and piece not in special:
            kept.append(piece)
            chosen.add(piece)
    covered = sum(count for index, count in counts.items() if pieces[index] in chosen)
    return CutVocabulary(
        tokenizer=_tokenizer(description, kept),
        teacher_ids=np.array([vocabulary.get(piece, vocabulary.get(UNKNOWN, 0)) for piece in kept], dtype=np.int64),
        coverage=covered / max(1e-9, sum(counts.values())),
    )


def token_ids(tokenizer: Tokenizer, texts: Sequence[str], length: int) -> npt.NDArray[np.int32]:
    """Return int32 [texts, length]: normalized, tokenized, cut and padded as the device does."""
    ids = np.zeros((len(texts), length), dtype=np.int32)
    for start in range(0, len(texts), _BATCH):
        batch = [normalize_text(text) for text in texts[start : start + _BATCH]]
        for row, encoding in enumerate(tokenizer.encode_batch_fast(batch, add_special_tokens=False), start):
            cut = encoding.ids[:length]
            ids[row, : len(cut)] = cut
    return ids


def _count_pieces(tokenizer: Tokenizer, corpora: Sequence[tuple[Sequence[str], float]]) -> Counter[int]:
    counts: Counter[int] = Counter()
    for texts, weight in corpora:
        for start in range(0, len(texts), _BATCH):
            batch = [normalize_text(text) for text in texts[start : start + _BATCH]]
            for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
                for index in encoding.ids:
                    counts[index] += weight  # type: ignore[assignment]
    return counts


def _tokenizer(description: dict[str, object], kept: list[str]) -> Tokenizer:
    model = dict(description["model"])  # type: ignore[call-overload]
    model["vocab"] = {piece: index for index, piece in enumerate(kept)}
    model["unk_token"] = UNKNOWN
    cut = dict(description, model=model, post_processor=None, truncation=None, padding=None)
    cut["added_tokens"] = [
        {
            "id": index,
            "content": piece,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for index, piece in enumerate((PADDING, UNKNOWN))
    ]
    return Tokenizer.from_str(json.dumps(cut))
