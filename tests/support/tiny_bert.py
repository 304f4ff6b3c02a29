"""A BERT of two narrow layers with random weights, in the files of the packaged MiniLM."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

HIDDEN, HEADS, LAYERS, POSITIONS = 16, 2, 2, 64
SPECIAL = ("[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def tiny_weights(vocabulary: int, *, seed: int = 0) -> dict[str, npt.NDArray[np.float32]]:
    random = np.random.default_rng(seed)

    def tensor(*shape: int) -> npt.NDArray[np.float32]:
        return random.normal(0.0, 0.4, shape).astype(np.float32)

    weights = {
        "embeddings.word_embeddings.weight": tensor(vocabulary, HIDDEN),
        "embeddings.position_embeddings.weight": tensor(POSITIONS, HIDDEN),
        "embeddings.token_type_embeddings.weight": tensor(2, HIDDEN),
        "embeddings.LayerNorm.weight": 1 + tensor(HIDDEN),
        "embeddings.LayerNorm.bias": tensor(HIDDEN),
    }
    for layer in range(LAYERS):
        block = f"encoder.layer.{layer}"
        shapes = {
            "attention.self.query": (HIDDEN, HIDDEN),
            "attention.self.key": (HIDDEN, HIDDEN),
            "attention.self.value": (HIDDEN, HIDDEN),
            "attention.output.dense": (HIDDEN, HIDDEN),
            "intermediate.dense": (4 * HIDDEN, HIDDEN),
            "output.dense": (HIDDEN, 4 * HIDDEN),
        }
        for name, shape in shapes.items():
            weights[f"{block}.{name}.weight"] = tensor(*shape)
            weights[f"{block}.{name}.bias"] = tensor(shape[0])
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            weights[f"{block}.{name}.weight"] = 1 + tensor(HIDDEN)
            weights[f"{block}.{name}.bias"] = tensor(HIDDEN)
    return weights


def tiny_tokenizer(words: tuple[str, ...]) -> Tokenizer:
    """Whole words only, with the packaged tokenizer's habit of padding and cutting."""
    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *words))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    tokenizer.enable_padding(length=32)
    tokenizer.enable_truncation(32)
    return tokenizer


def write_tiny_bert(folder: Path, words: tuple[str, ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    config = {"num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "hidden_size": HIDDEN, "layer_norm_eps": 1e-12}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tiny_weights(len(SPECIAL) + len(words)), folder / "model.safetensors")
    tiny_tokenizer(words).save(str(folder / "tokenizer.json"))
