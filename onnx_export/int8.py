"""The arithmetic of quantize.py: an ONNX model's matrices and word vectors in int8.

Weights get one scale per neuron (a column of the matrix), word vectors one per word, and activations one per token,
taken at run time. So a question's scores depend neither on those beside it in a batch nor on padding.

The usual reason for which int8 loses F1 are a few channels whose activations are many times the others' (Bondarenko et
al. 2021, "Understanding and overcoming the challenges of efficient transformer quantization"): at a scale that holds
them, the others are all but zero. Each channel is therefore divided by a factor of its own, with which its weights are
multiplied, such that activations and weights are equally hard to round (Xiao et al. 2023, "SmoothQuant").
"""

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from deployment.tagger import import_onnxruntime

OPSET = 21  # the first whose QuantizeLinear takes a scale per block, here a token
LEAST_ROWS = 500  # smaller tables, such as those of token types, stay in fp32
SMOOTHING = 0.5  # SmoothQuant's alpha
LEAST_SCALE = 1e-12
# The zero points of unsigned activations: in the middle, or low where hardly any are negative, as behind GELU and ReLU.
MIDDLE, LOW = 128, 24


def quantize_matrices(model: ModelProto, feeds: Iterable[dict[str, np.ndarray]]) -> None:
    """Replace the products with weight matrices in a float model by int8 ones, in place.

    ``feeds`` are inputs like those that the model will get; they decide the factors of the channels.
    """
    graph = model.graph
    weights = {initializer.name: initializer for initializer in graph.initializer}
    products: dict[str, list[NodeProto]] = {}  # by their input: attention's query, key and value share one
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in weights:
            products.setdefault(node.input[0], []).append(node)
    if not products:
        return
    ranges = observe(model, list(products), feeds)
    replaced = {}
    for name, nodes in products.items():
        matrices = [numpy_helper.to_array(weights[node.input[1]]) for node in nodes]
        low, high = ranges[name]
        quantized, divisor, zero_point = quantized_input(graph, name, low, high, np.concatenate(matrices, axis=1))
        for node, matrix in zip(nodes, matrices, strict=True):
            replaced[node.output[0]] = int8_product(graph, node, matrix * divisor[:, np.newaxis], zero_point)
            graph.initializer.remove(weights[node.input[1]])
        first = nodes[0].output[0]
        replaced[first] = quantized + replaced[first]
    nodes = [part for node in graph.node for part in replaced.get(node.output[0], [node])]
    del graph.node[:]
    graph.node.extend(nodes)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def observe(model: ModelProto, names: list[str], feeds: Iterable[dict[str, np.ndarray]]) -> dict:
    """Return {name: the least and the greatest value of each channel, an array of shape (2, channels)}."""
    probed = ModelProto()
    probed.CopyFrom(model)
    del probed.graph.output[:]
    probed.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    session = import_onnxruntime().InferenceSession(probed.SerializeToString(), providers=["CPUExecutionProvider"])
    ranges: dict[str, np.ndarray] = {}
    for feed in feeds:
        for name, values in zip(names, session.run(names, feed), strict=True):
            values = values.reshape(-1, values.shape[-1])
            low, high = ranges.get(name, (values[0], values[0]))
            ranges[name] = np.stack([np.minimum(values.min(axis=0), low), np.maximum(values.max(axis=0), high)])
    return ranges


def quantized_input(graph, name: str, low: np.ndarray, high: np.ndarray, matrix: np.ndarray) -> tuple:
    """Add the constants for the rounding of the activations ``name``, whose channels lie between ``low`` and ``high``.

    Returns
    -------
    the nodes that give NAME_int8 and NAME_scale; the divisors of the channels, shape (channels,); the zero point
    """
    channels = len(matrix)
    if one_sided := -low.min() < high.max() / 8:
        divisor, zero_point, least = np.ones(channels, dtype=np.float32), LOW, max(LEAST_SCALE, -low.min() / LOW)
    else:
        zero_point, least = MIDDLE, LEAST_SCALE
        of_activations = np.maximum(np.maximum(-low, high), 1e-5)
        of_weights = np.maximum(np.abs(matrix).max(axis=1), 1e-5)
        divisor = (of_activations**SMOOTHING / of_weights ** (1 - SMOOTHING)).astype(np.float32)

    def constant(kind: str, value) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), f"{name}_{kind}"))
        return f"{name}_{kind}"

    make = helper.make_node
    nodes = []
    smooth = sized = name
    if not one_sided:
        smooth, sized = f"{name}_smooth", f"{name}_size"
        nodes += [make("Mul", [name, constant("factor", 1 / divisor)], [smooth]), make("Abs", [smooth], [sized])]
    top = 255 - zero_point
    peak, needed, scale, shape, zeros = (f"{name}_{kind}" for kind in ("peak", "needed", "scale", "shape", "zeros"))
    zero = helper.make_tensor("zero_point", onnx.TensorProto.UINT8, [1], [zero_point])
    nodes += [
        make("ReduceMax", [sized, constant("axes", np.array([-1]))], [peak]),
        make("Mul", [peak, constant("step", np.float32(1 / top))], [needed]),
        make("Max", [needed, constant("least", np.float32(least))], [scale]),
        make("Shape", [scale], [shape]),
        make("ConstantOfShape", [shape], [zeros], value=zero),
        make("QuantizeLinear", [smooth, scale, zeros], [f"{name}_int8"], axis=-1, block_size=channels),
    ]
    return nodes, divisor, zero_point


def int8_product(graph, node: NodeProto, matrix: np.ndarray, zero_point: int) -> list[NodeProto]:
    """Return the nodes in place of ``node``, the product of its quantized input with ``matrix``; add its constants."""
    name, output = node.input[0], node.output[0]
    values, scales = round_columns(matrix)
    constants = {"weights": values, "scales": scales, "one": np.float32(1), "zero_point": np.uint8(zero_point)}
    for kind, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), f"{output}_{kind}"))
    weights, scale, one, zero = (f"{output}_{kind}" for kind in constants)
    inputs = [f"{name}_int8", weights, one, scale, zero]
    return [
        helper.make_node("MatMulIntegerToFloat", inputs, [f"{output}_unscaled"], domain="com.microsoft"),
        helper.make_node("Mul", [f"{output}_unscaled", f"{name}_scale"], [output]),
    ]


def round_columns(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 weights of the shape of ``matrix``, (inputs, neurons), and the scale of each neuron.

    Processors without VNNI add two neighbouring products in 16 bits. A neuron's scale is the finest at which that sum
    does not overflow, whatever the activations: 255 * 128 < 2**15. Taking a bit from all weights instead, as
    onnxruntime's reduce_range does, would be coarser.
    """
    pairs = np.arange(0, len(matrix), 2)
    sums = [np.add.reduceat(np.maximum(signed, 0), pairs, axis=0).max(axis=0) for signed in (matrix, -matrix)]
    scales = (np.maximum(np.maximum(*sums), LEAST_SCALE) / 127).astype(np.float32)
    return np.round(matrix / scales).astype(np.int8), scales


def quantize_tables(model: ModelProto) -> None:
    """Replace each large table of vectors by int8 ones with one scale per row, in place.

    onnxruntime's own quantizers know one scale per table, which a single outlier spoils.
    """
    graph = model.graph
    weights = {initializer.name: initializer for initializer in graph.initializer}
    nodes = []
    for node in graph.node:
        table = weights.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or len(table.dims) != 2 or table.dims[0] < LEAST_ROWS:
            nodes.append(node)
            continue
        vectors = numpy_helper.to_array(table)
        scales = np.maximum(np.abs(vectors).max(axis=1, keepdims=True), LEAST_SCALE).astype(np.float32) / 127
        parts = {"int8": np.round(vectors / scales).astype(np.int8), "scale": scales}
        for part, values in parts.items():
            graph.initializer.append(numpy_helper.from_array(values, f"{table.name}_{part}"))
            gathered = f"{node.output[0]}_{part}"
            nodes.append(helper.make_node("Gather", [f"{table.name}_{part}", node.input[1]], [gathered], axis=0))
        as_float = f"{node.output[0]}_float"
        nodes.append(helper.make_node("Cast", [f"{node.output[0]}_int8"], [as_float], to=onnx.TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", [as_float, f"{node.output[0]}_scale"], [node.output[0]]))
        graph.initializer.remove(table)
    del graph.node[:]
    graph.node.extend(nodes)
