"""Measure the rate of matrix multiplication of onnxruntime on this machine: the upper limit for a model."""

import numpy as np

from benchmarks.measure import fastest
from tagging.tagger import import_onnxruntime

SIZE = 1024  # small enough for the caches, large enough to use all units of the processor


def gigaflops(kind: str, repetitions: int = 30) -> float:
    """Return the peak rate, in 1e9 operations per second, of a product of two SIZE x SIZE matrices on all cores.

    Parameters
    ----------
    kind
        "fp32" (MatMul) or "int8" (MatMulInteger: unsigned activations and signed weights, as in the served model).
    repetitions
        Number of runs, of which the fastest counts.
    """
    session = import_onnxruntime().InferenceSession(product(kind), providers=["CPUExecutionProvider"])
    takes = np.uint8 if kind == "int8" else np.float32
    x = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE)).astype(takes)
    return 2 * SIZE**3 / fastest(lambda: session.run(None, {"x": x}), repetitions) / 1e9


def product(kind: str) -> bytes:
    """Return an ONNX model of one product y = x w; ``kind`` as in :func:`gigaflops`."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(1).integers(0, 255, (SIZE, SIZE))
    takes, gives = TensorProto.FLOAT, TensorProto.FLOAT
    constants = {"w": weights.astype(np.float32)}
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    if kind == "int8":
        takes, gives = TensorProto.UINT8, TensorProto.INT32
        constants = {"w": (weights // 2).astype(np.int8)}
        node = helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    x, y = (
        helper.make_tensor_value_info(name, element, [SIZE, SIZE]) for name, element in (("x", takes), ("y", gives))
    )
    tensors = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph([node], kind, [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10).SerializeToString()
