"""The rates at which this machine's onnxruntime multiplies matrices: the limit that a model is held against."""

import time

import numpy as np

from onnx_export.quantize import BLOCK_SIZE, INT8_ACTIVATIONS

SIZE = 1024  # fits into the caches of today's processors, large enough to fill their units


def gigaflops(kind: str, repetitions: int = 30) -> float:
    """Return 1e9 operations per second, at best, of a product of two square matrices of SIZE on all cores.

    ``kind`` is "fp32" (MatMul), "int8" (MatMulInteger: unsigned activations, signed weights) or "blocks" (MatMulNBits
    with 8 bits and int8 arithmetic, the operator of the served model).
    """
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    shape = [SIZE, SIZE]
    weights = rng.integers(0, 255, shape)
    types = {"fp32": (TensorProto.FLOAT, TensorProto.FLOAT), "int8": (TensorProto.UINT8, TensorProto.INT32)}
    takes, gives = types.get(kind, types["fp32"])
    if kind == "fp32":
        node = helper.make_node("MatMul", ["x", "w"], ["y"])
        constants = {"w": weights.astype(np.float32)}
    elif kind == "int8":
        node = helper.make_node("MatMulInteger", ["x", "w"], ["y"])
        constants = {"w": (weights // 2).astype(np.int8)}
    else:
        sizes = {"K": SIZE, "N": SIZE, "bits": 8, "block_size": BLOCK_SIZE, "accuracy_level": INT8_ACTIVATIONS}
        node = helper.make_node("MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", **sizes)
        constants = {
            "w": weights.astype(np.uint8).reshape(SIZE, SIZE // BLOCK_SIZE, BLOCK_SIZE),
            "s": np.ones(SIZE * SIZE // BLOCK_SIZE, dtype=np.float32),
        }
    graph = helper.make_graph(
        [node],
        kind,
        [helper.make_tensor_value_info("x", takes, shape)],
        [helper.make_tensor_value_info("y", gives, shape)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = rng.integers(0, 255, shape).astype(np.float32 if takes == TensorProto.FLOAT else np.uint8)
    best = np.inf
    for _ in range(repetitions):
        started = time.perf_counter()
        session.run(None, {"x": x})
        best = min(best, time.perf_counter() - started)
    return 2 * SIZE**3 / best / 1e9
