"""Builds the ONNX graph of an encoder, operation by operation."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_runtime.contract.types import Float32

INPUTS = ("input_word_ids", "input_mask")
OPSET, IR_VERSION = 20, 9


@dataclass
class OnnxGraph:
    """Nodes and constants of one graph; every method returns the name of its output."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        """Add a constant, unless one of that name is there."""
        self.constants.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def ints(self, *values: int) -> str:
        """Add a constant int64 [values]."""
        return self.constant("ints_" + "_".join(map(str, values)), np.array(values, np.int64))

    def number(self, value: float) -> str:
        """Add a constant float32 []."""
        return self.constant(f"number_{value:g}", np.array(value, np.float32))

    def add(self, operation: str, *inputs: str, output: str = "", **attributes: object) -> str:
        """Add one operation."""
        output = output or f"{operation.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, list(inputs), [output], **attributes))
        return output

    def dense(self, x: str, name: str, kernel: Float32, bias: Float32 | None) -> str:
        """Add `x @ kernel + bias`: `kernel` float32 [in, out], `bias` float32 [out]."""
        product = self.add("MatMul", x, self.constant(f"{name}.kernel", kernel))
        return product if bias is None else self.add("Add", product, self.constant(f"{name}.bias", bias))

    def encoder(self, x: str, *, name: str, dim: int) -> bytes:
        """Return the model: int32 `INPUTS` [batch, tokens] -> `vector` float32 [batch, dim], `x` at unit length."""
        self.add("LpNormalization", x, output="vector", axis=-1, p=2)
        inputs = [helper.make_tensor_value_info(one, TensorProto.INT32, ["batch", "tokens"]) for one in INPUTS]
        output = helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["batch", dim])
        body = helper.make_graph(self.nodes, name, inputs, [output], list(self.constants.values()))
        model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())
