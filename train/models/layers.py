"""Layers of a student that converts to int8 as a whole: each is one operation, so that each output has its own range.

Keras' own attention and LayerNormalization have several operations in one layer, and quantization-aware training then
leaves the inner ones in float. Here every boundary between int8 tensors is a layer, normalization is a
scale and a shift without mean and variance (NoNorm, Sun et al., "MobileBERT", 2020), and the mean over tokens is a
matrix product with softmax(mask), which needs no division.

`QUANTIZATION` of a layer says what compress/quantization.py does with it: the attributes that are weights and the kind
of range of its output ("moving", "probability", "zero_to_one", "mask", or None for layers that only move numbers).
"""

from typing import Any, NamedTuple

from train.backend import keras, tf

PADDING_ID = 0
MASK_BIAS = -12.0
"""Added to the logits of padding: exp(-12) is 6e-6, and the fixed range [-12, 0] costs int8 little resolution."""


class Quantization(NamedTuple):
    """How a layer is quantized: names of its weights, kind of its output range."""

    weights: tuple[str, ...] = ()
    output: str | None = "moving"


LAYERS: dict[str, type] = {}
"""Name -> layer or constraint, for `keras.utils.custom_object_scope`."""


class OneOperation(keras.layers.Layer):
    """Base of the layers here, and of an architecture's own; each is in `LAYERS` once it is defined."""

    QUANTIZATION = Quantization()

    def __init_subclass__(cls) -> None:
        """Put the layer into `LAYERS`."""
        super().__init_subclass__()
        LAYERS[cls.__name__] = cls


class QuantizeInput(OneOperation):
    """Identity on a float input: where its numbers are rounded to int8."""

    def call(self, x: Any) -> Any:
        """Return `x` unchanged."""
        return tf.identity(x)


class QuantizeFlag(QuantizeInput):
    """Identity on a float input that is 0 or 1."""

    QUANTIZATION = Quantization(output="zero_to_one")


class PaddingFlag(OneOperation):
    """Token ids int32 [batch, tokens] -> 1.0 where padding, else 0.0."""

    QUANTIZATION = Quantization(output="zero_to_one")

    def call(self, ids: Any) -> Any:
        """Return the flags."""
        return tf.cast(tf.equal(ids, PADDING_ID), tf.float32)


class OneMinus(OneOperation):
    """1 - x, for flags."""

    QUANTIZATION = Quantization(output="zero_to_one")

    def call(self, x: Any) -> Any:
        """Return `1 - x`."""
        return 1.0 - x


class MaskBias(OneOperation):
    """Flags [batch, n] (1 = nothing there) -> additive bias of the logits: 0 or `MASK_BIAS`."""

    QUANTIZATION = Quantization(output="mask")

    def call(self, flags: Any) -> Any:
        """Return the bias."""
        return flags * MASK_BIAS


class NewAxis(OneOperation):
    """[batch, ...] -> [batch, 1, ...]: one more axis after the batch, the same for every row or head."""

    QUANTIZATION = Quantization(output=None)

    def call(self, x: Any) -> Any:
        """Return `x` with one more axis."""
        return tf.expand_dims(x, 1)


class LearnedPosition(OneOperation):
    """Adds a learned vector to each position: [batch, n, hidden], n <= `length`."""

    QUANTIZATION = Quantization(weights=("position",))

    def __init__(self, length: int, **options: Any) -> None:
        super().__init__(**options)
        self.length = length

    def build(self, shape: Any) -> None:
        """Create `position` float32 [length, hidden]."""
        self.position = self.add_weight(
            name="position", shape=(self.length, shape[-1]), initializer=keras.initializers.TruncatedNormal(stddev=0.02)
        )
        super().build(shape)

    def call(self, x: Any) -> Any:
        """Return `x` plus the positions."""
        n = x.shape[1]
        return x + (self.position[:n] if n is not None else tf.gather(self.position, tf.range(tf.shape(x)[1])))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "length": self.length}


class ZeroPadding(keras.constraints.Constraint):
    """Keeps the padding's row of a word table at zero.

    Padding weighs some 6e-6, but an optimizer that normalizes gradients makes the row grow all the same until it
    counts; int8 probabilities then cannot hold what it says.
    """

    def __call__(self, table: Any) -> Any:
        """Return `table` with a zero row for `PADDING_ID`."""
        return tf.concat((tf.zeros_like(table[: PADDING_ID + 1]), table[PADDING_ID + 1 :]), axis=0)


LAYERS["ZeroPadding"] = ZeroPadding


class Scale(OneOperation):
    """Multiplies each channel by a learned factor."""

    QUANTIZATION = Quantization(weights=("gamma",))

    def build(self, shape: Any) -> None:
        """Create `gamma` float32 [hidden]."""
        self.gamma = self.add_weight(name="gamma", shape=(shape[-1],), initializer="ones")
        super().build(shape)

    def call(self, x: Any) -> Any:
        """Return `x * gamma`."""
        return x * self.gamma


class Shift(OneOperation):
    """Adds a learned number to each channel."""

    QUANTIZATION = Quantization(weights=("beta",))

    def build(self, shape: Any) -> None:
        """Create `beta` float32 [hidden]."""
        self.beta = self.add_weight(name="beta", shape=(shape[-1],), initializer="zeros")
        super().build(shape)

    def call(self, x: Any) -> Any:
        """Return `x + beta`."""
        return x + self.beta


class SplitHeads(OneOperation):
    """[batch, n, heads * size] -> [batch, heads, n, size]."""

    QUANTIZATION = Quantization(output=None)

    def __init__(self, heads: int, **options: Any) -> None:
        super().__init__(**options)
        self.heads = heads

    def call(self, x: Any) -> Any:
        """Return the heads apart."""
        n = x.shape[1] if x.shape[1] is not None else tf.shape(x)[1]
        return tf.transpose(tf.reshape(x, (-1, n, self.heads, x.shape[-1] // self.heads)), (0, 2, 1, 3))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "heads": self.heads}


class MergeHeads(OneOperation):
    """[batch, heads, n, size] -> [batch, n, heads * size]."""

    QUANTIZATION = Quantization(output=None)

    def call(self, x: Any) -> Any:
        """Return the heads, concatenated."""
        n = x.shape[2] if x.shape[2] is not None else tf.shape(x)[2]
        return tf.reshape(tf.transpose(x, (0, 2, 1, 3)), (-1, n, x.shape[1] * x.shape[3]))


class MatMul(OneOperation):
    """Matrix product of two activations; `transpose_b` for queries with keys."""

    def __init__(self, transpose_b: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.transpose_b = transpose_b

    def call(self, operands: Any) -> Any:
        """Return the product of the two operands."""
        return tf.matmul(operands[0], operands[1], transpose_b=self.transpose_b)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "transpose_b": self.transpose_b}


class AddBias(OneOperation):
    """Logits plus mask bias, broadcast."""

    def call(self, operands: Any) -> Any:
        """Return the sum of the two operands."""
        return operands[0] + operands[1]


class Softmax(OneOperation):
    """Softmax over the last axis; its int8 range is fixed to [0, 255/256], as the kernel demands."""

    QUANTIZATION = Quantization(output="probability")

    def call(self, x: Any) -> Any:
        """Return the probabilities."""
        return tf.nn.softmax(x)


class TransposeHeads(OneOperation):
    """[batch, n, heads] -> [batch, heads, n]."""

    QUANTIZATION = Quantization(output=None)

    def call(self, x: Any) -> Any:
        """Return the last two axes swapped."""
        return tf.transpose(x, (0, 2, 1))


class ConcatHeads(OneOperation):
    """[batch, heads, size] -> [batch, heads * size]."""

    QUANTIZATION = Quantization(output=None)

    def call(self, x: Any) -> Any:
        """Return the heads, concatenated."""
        return tf.reshape(x, (-1, x.shape[1] * x.shape[2]))


class ContextWindow(OneOperation):
    """[batch, n, hidden] -> [batch, n, 3 * hidden]: the token before, the token, the token after; zeros at the ends."""

    QUANTIZATION = Quantization(output=None)

    def call(self, x: Any) -> Any:
        """Return every token, concatenated with its neighbors."""
        before, after = tf.pad(x[:, :-1], ((0, 0), (1, 0), (0, 0))), tf.pad(x[:, 1:], ((0, 0), (0, 1), (0, 0)))
        return tf.concat((before, x, after), axis=-1)


class SqueezeHead(OneOperation):
    """[batch, 1, hidden] -> [batch, hidden]."""

    QUANTIZATION = Quantization(output=None)

    def call(self, x: Any) -> Any:
        """Return the only head."""
        return tf.squeeze(x, 1)


def no_norm(x: Any, *, name: str) -> Any:
    """Scale and shift each channel."""
    return Shift(name=f"{name}_shift")(Scale(name=f"{name}_scale")(x))


def attention_block(x: Any, bias: Any, *, hidden: int, heads: int, feed_forward: int, name: str) -> Any:
    """One transformer block, post-norm: self-attention, then two dense layers with ReLU.

    Args:
        x: float32 [batch, n, hidden].
        bias: float32 [batch, 1, 1, n], 0 or `MASK_BIAS`.
        hidden: width of `x`.
        heads: number of attention heads; must divide `hidden`.
        feed_forward: width between the two dense layers.
        name: prefix of the layers' names.

    Returns:
        float32 [batch, n, hidden].
    """
    # The 1/sqrt(d) of attention is folded into the query kernel: one operation and one int8 range less.
    query_start = keras.initializers.VarianceScaling((hidden // heads) ** -0.5, "fan_avg", "uniform")
    dense = keras.layers.Dense
    query = SplitHeads(heads, name=f"{name}_query_heads")(
        dense(hidden, kernel_initializer=query_start, name=f"{name}_query")(x)
    )
    key = SplitHeads(heads, name=f"{name}_key_heads")(dense(hidden, name=f"{name}_key")(x))
    value = SplitHeads(heads, name=f"{name}_value_heads")(dense(hidden, name=f"{name}_value")(x))
    logits = MatMul(True, name=f"{name}_logits")([query, key])
    weights = Softmax(name=f"{name}_weights")(AddBias(name=f"{name}_masked")([logits, bias]))
    context = MergeHeads(name=f"{name}_context")(MatMul(name=f"{name}_mixed")([weights, value]))
    attended = keras.layers.Add(name=f"{name}_add_attention")([x, dense(hidden, name=f"{name}_output")(context)])
    x = no_norm(attended, name=f"{name}_norm_attention")
    inner = keras.layers.ReLU(name=f"{name}_relu")(dense(feed_forward, name=f"{name}_inner")(x))
    summed = keras.layers.Add(name=f"{name}_add_dense")([x, dense(hidden, name=f"{name}_outer")(inner)])
    return no_norm(summed, name=f"{name}_norm_dense")


def mixer_block(x: Any, *, hidden: int, feed_forward: int, name: str) -> Any:
    """One block without attention: two dense layers with ReLU over each token laid beside its neighbors.

    The two together are a convolution of width 3 and one of width 1, written as matrix products.

    Args:
        x: float32 [batch, n, hidden].
        hidden: width of `x`.
        feed_forward: width between the two dense layers.
        name: prefix of the layers' names.

    Returns:
        float32 [batch, n, hidden].
    """
    beside = ContextWindow(name=f"{name}_neighbors")(x)
    inner = keras.layers.ReLU(name=f"{name}_relu")(keras.layers.Dense(feed_forward, name=f"{name}_inner")(beside))
    summed = keras.layers.Add(name=f"{name}_add")([x, keras.layers.Dense(hidden, name=f"{name}_outer")(inner)])
    return no_norm(summed, name=f"{name}_norm")


def attention_pool(x: Any, bias: Any, *, heads: int, name: str) -> Any:
    """Weighted means of the unmasked positions, one for each head, the weights learned from `x` itself.

    Args:
        x: float32 [batch, n, hidden].
        bias: float32 [batch, 1, n], 0 or `MASK_BIAS`.
        heads: how many means.
        name: prefix of the layers' names.

    Returns:
        float32 [batch, heads * hidden].
    """
    logits = TransposeHeads(name=f"{name}_heads")(keras.layers.Dense(heads, use_bias=False, name=f"{name}_logits")(x))
    weights = Softmax(name=f"{name}_weights")(AddBias(name=f"{name}_masked")([logits, bias]))
    means = MatMul(name=f"{name}_means")([weights, x])
    return (ConcatHeads if heads > 1 else SqueezeHead)(name=name)(means)
