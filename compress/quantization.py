"""Quantization-aware training of a BERT to full int8 with tensorflow-model-optimization.

tfmot was made for convolutional networks. This file adds the four things that it lacks for a transformer:

1. A `QuantizeConfig` for every layer of train/models/layers.py, for Embedding, and for Dense with per-tensor symmetric
   weights (per-axis kernels do not convert). A layer states what it needs in `QUANTIZATION`.
2. Output ranges: a moving average that settles within some 40 steps (tfmot's own starts at ±6 with decay 0.999), and
   fixed ranges where the int8 kernel demands one (softmax) or where the values are known (masks).
3. A scheme without layout transforms: the default one puts a float quantizer on int32 token ids.
4. Weights that were pruned to zero stay zero.
"""

from typing import Any

import numpy as np
import tensorflow_model_optimization as tfmot
from tensorflow_model_optimization.python.core.quantization.keras import quant_ops
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import default_8bit_quantize_scheme
from tensorflow_model_optimization.python.core.quantization.keras.quantizers import (
    LastValueQuantizer,
    MovingAverageQuantizer,
    Quantizer,
)

from compress.errors import UnsupportedLayerError
from train.backend import keras, tf
from train.models.layers import LAYERS, MASK_BIAS, OneOperation, Quantization

CALIBRATION_STEPS = 40

_KERAS_LAYERS = {
    "Dense": Quantization(weights=("kernel",)),
    "Add": Quantization(),
    "ReLU": Quantization(),
    # The rows that come out are the table's own numbers: a second range would only round them again.
    "Embedding": Quantization(weights=("embeddings",), output=None),
}
_FIXED_RANGES = {"probability": (0.0, 255.0 / 256.0), "zero_to_one": (0.0, 1.0), "mask": (MASK_BIAS, 0.0)}


class SettlingRangeQuantizer(MovingAverageQuantizer):
    """Moving average of a tensor's minimum and maximum with decay 0.95."""

    def __init__(self) -> None:
        super().__init__(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)

    def __call__(self, inputs: Any, training: Any, weights: Any, **options: Any) -> Any:
        """Return `inputs` rounded to 8 bits within the moving range."""
        return quant_ops.MovingAvgQuantize(
            inputs,
            weights["min_var"],
            weights["max_var"],
            ema_decay=0.95,
            is_training=training,
            num_bits=8,
            per_channel=False,
            symmetric=False,
            narrow_range=False,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments: none."""
        return {}


class FixedRangeQuantizer(Quantizer):
    """Rounds to 8 bits within a range that never changes."""

    def __init__(self, low: float, high: float) -> None:
        self.low = low
        self.high = high

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """Create nothing: the range is known."""
        return {}

    def __call__(self, inputs: Any, training: Any, weights: Any, **options: Any) -> Any:
        """Return `inputs` rounded to 8 bits within [low, high]."""
        return tf.quantization.fake_quant_with_min_max_args(inputs, self.low, self.high, num_bits=8)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"low": self.low, "high": self.high}


class SparseWeightQuantizer(LastValueQuantizer):
    """Per-tensor symmetric weights in [-127, 127]; weights under a zero of the mask stay zero."""

    def __init__(self) -> None:
        super().__init__(num_bits=8, per_axis=False, symmetric=True, narrow_range=True)

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """Create the range and the mask, all ones until `quantize` sets it."""
        built: dict[str, Any] = super().build(tensor_shape, name, layer)
        built["mask"] = layer.add_weight(
            name=f"{name}_sparsity_mask", shape=tensor_shape, initializer="ones", trainable=False
        )
        return built

    def __call__(self, inputs: Any, training: Any, weights: Any, **options: Any) -> Any:
        """Return the masked weights rounded to 8 bits."""
        return super().__call__(inputs * weights["mask"], training, weights, **options)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments: none."""
        return {}


class LayerQuantization(tfmot.quantization.keras.QuantizeConfig):
    """The `QuantizeConfig` of one layer: names of its weights, kind of its output range (see `Quantization`)."""

    def __init__(self, weights: tuple[str, ...], output: str | None) -> None:
        self.weights = tuple(weights)
        self.output = output

    def get_weights_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:
        """Return the layer's weights with their quantizers."""
        return [(getattr(layer, name), SparseWeightQuantizer()) for name in self.weights]

    def set_quantize_weights(self, layer: Any, quantize_weights: list[Any]) -> None:
        """Put the rounded weights into the layer for this call."""
        for name, value in zip(self.weights, quantize_weights, strict=True):
            setattr(layer, name, value)

    def get_activations_and_quantizers(self, layer: Any) -> list[Any]:
        """Return none: outputs are quantized as a whole."""
        return []

    def set_quantize_activations(self, layer: Any, quantize_activations: list[Any]) -> None:
        """Take none, as `get_activations_and_quantizers` gave none."""
        if quantize_activations:
            raise UnsupportedLayerError(f"layer {layer.name} has no activations of its own to quantize")

    def get_output_quantizers(self, layer: Any) -> list[Any]:
        """Return the output's quantizer, or none where numbers only move."""
        if self.output is None:
            return []
        if self.output == "moving":
            return [SettlingRangeQuantizer()]
        return [FixedRangeQuantizer(*_FIXED_RANGES[self.output])]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"weights": self.weights, "output": self.output}


class _NoLayoutTransform:
    def apply(self, model: Any, layer_quantize_map: Any) -> tuple[Any, Any]:
        return model, layer_quantize_map


class _TransformerScheme(default_8bit_quantize_scheme.Default8BitQuantizeScheme):
    def get_layout_transformer(self) -> _NoLayoutTransform:
        return _NoLayoutTransform()


_QUANTIZERS = {
    named.__name__: named
    for named in (LayerQuantization, SettlingRangeQuantizer, FixedRangeQuantizer, SparseWeightQuantizer)
}


def quantize(model: Any) -> Any:
    """Return `model` with 8-bit rounding of weights and activations in its forward pass, ready for training.

    Weights start from those of `model`; those that are exactly zero stay zero. Call `calibrate` before training.

    Raises:
        UnsupportedLayerError: a layer that is not known here.
    """
    with tfmot.quantization.keras.quantize_scope({**LAYERS, **_QUANTIZERS}):
        annotated = keras.models.clone_model(model, clone_function=_annotate)
        annotated.set_weights(model.get_weights())
        quantized = tfmot.quantization.keras.quantize_apply(annotated, _TransformerScheme())
    for layer in model.layers:
        for variable in quantized.get_layer(_wrapped_name(layer)).weights if _weights_of(layer) else ():
            if variable.name.endswith("_sparsity_mask:0"):
                attribute = variable.name.split("/")[-1].removesuffix("_sparsity_mask:0")
                values = getattr(layer, attribute).numpy()
                # A table's zeros are chance, a kernel's are pruned: only kernels keep theirs.
                variable.assign((values != 0) if attribute == "kernel" else np.ones_like(values))
    return quantized


def take_float_weights(model: Any, quantized: Any) -> None:
    """Give `model` the weights that training left in `quantized`, without their rounding; pruned ones are zero.

    Args:
        model: of which `quantized` was made; changed in place.
        quantized: from `quantize`, trained on.
    """
    inside = {layer.name: layer for layer in quantized.layers}
    for layer in model.layers:
        tuned = inside[_wrapped_name(layer) if _wrapped_name(layer) in inside else layer.name]
        found = {_leaf(variable): variable for variable in tuned.weights}
        for variable in layer.weights:
            mask = found.get(f"{_leaf(variable)}_sparsity_mask")
            value = found[_leaf(variable)]
            variable.assign(value if mask is None else value * mask)


def _leaf(variable: Any) -> str:
    return str(variable.name.split("/")[-1].split(":")[0])


def calibrate(model: Any, batches: Any) -> None:
    """Let the moving ranges settle: `CALIBRATION_STEPS` forward passes in training mode, no learning.

    Args:
        model: from `quantize`.
        batches: step -> the model's inputs.
    """

    @tf.function
    def forward(*inputs: Any) -> None:
        model(inputs if len(inputs) > 1 else inputs[0], training=True)

    for step in range(CALIBRATION_STEPS):
        forward(*batches(step))


def kernel_sparsity(model: Any) -> dict[str, float]:
    """Return the share of zeros in each masked dense kernel of a quantized model, by the inner layer's name."""
    shares = {}
    for layer in model.layers:
        inner = getattr(layer, "layer", None)
        if isinstance(inner, keras.layers.Dense):
            mask = next(variable for variable in layer.weights if "kernel_sparsity_mask" in variable.name)
            shares[inner.name] = float(np.mean(mask.numpy() == 0.0))
    return shares


def _wrapped_name(layer: Any) -> str:
    return f"quant_{layer.name}"


def _weights_of(layer: Any) -> tuple[str, ...]:
    return () if isinstance(layer, keras.layers.InputLayer) else _quantization_of(layer).weights


def _quantization_of(layer: Any) -> Quantization:
    if isinstance(layer, OneOperation):
        return layer.QUANTIZATION
    known = _KERAS_LAYERS.get(type(layer).__name__)
    if known is None:
        raise UnsupportedLayerError(
            f"layer {layer.name} ({type(layer).__name__}) has no way into int8; "
            f"build the model from train/models/layers.py and {', '.join(_KERAS_LAYERS)}"
        )
    return known


def _annotate(layer: Any) -> Any:
    if isinstance(layer, keras.layers.InputLayer):
        return layer
    needs = _quantization_of(layer)
    if not needs.weights and needs.output is None:
        return layer
    return tfmot.quantization.keras.quantize_annotate_layer(layer, LayerQuantization(needs.weights, needs.output))
