"""A BERT of two narrow layers with random weights, in the files of a Hugging Face checkpoint."""

import json

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WORDS = (*"red blue green lamp table chair desk sofa small large oak steel a the for with".split(), "##s")  # noqa: SIM905
VOCABULARY = (*SPECIAL, *WORDS)

CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "vocab_size": len(VOCABULARY),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 20,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
}


def random_weights(seed=0, config=CONFIG):
    """Return float32 arrays under the names of Hugging Face, each with room to be wrong (no zeros, no ones)."""
    random = np.random.default_rng(seed)
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    shapes = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], hidden),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], hidden),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], hidden),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(config["num_hidden_layers"]):
        stem = f"encoder.layer.{layer}"
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes[f"{stem}.{part}.weight"], shapes[f"{stem}.{part}.bias"] = (hidden, hidden), (hidden,)
        shapes[f"{stem}.intermediate.dense.weight"] = (wide, hidden)
        shapes[f"{stem}.intermediate.dense.bias"] = (wide,)
        shapes[f"{stem}.output.dense.weight"], shapes[f"{stem}.output.dense.bias"] = (hidden, wide), (hidden,)
        norms += [f"{stem}.attention.output.LayerNorm", f"{stem}.output.LayerNorm"]
    for norm in norms:
        shapes[f"{norm}.weight"] = shapes[f"{norm}.bias"] = (hidden,)
    arrays = {name: random.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    for norm in norms:
        arrays[f"{norm}.weight"] += 1
    return arrays


def make_tokenizer():
    """Return a tokenizer that pads and cuts to 6 tokens by itself, as the packaged one does to 128."""
    ids = {piece: number for number, piece in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
    )
    tokenizer.enable_padding(length=6)
    tokenizer.enable_truncation(6)
    return tokenizer


def write_checkpoint(folder, *, config=None, weights=None, seed=0):
    """Write config.json, model.safetensors and tokenizer.json into `folder` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **(config or {})}))
    save_file(random_weights(seed) if weights is None else weights, folder / "model.safetensors")
    make_tokenizer().save(str(folder / "tokenizer.json"))
    return folder
