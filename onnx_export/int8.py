"""The arithmetic of quantize.py: an ONNX model's matrices and word vectors in int8.

Weights get one scale per neuron (a column of the matrix), word vectors one per word. Activations get one scale that is
learned from examples, or, where tokens differ too much for that, as behind GELU, one per token, taken at run time. So a
question's scores depend neither on those beside it in a batch nor on padding.

The usual reason for which int8 loses F1 are a few channels whose activations are many times the others' (Bondarenko et
al. 2021, "Understanding and overcoming the challenges of efficient transformer quantization"): at a scale that holds
them, the others are all but zero. Each channel is therefore divided by a factor of its own, with which its weights are
multiplied, such that activations and weights are equally hard to round (Xiao et al. 2023, "SmoothQuant").

Why not onnxruntime's ``quantize_dynamic``, which is one call and takes somewhat less time with VNNI: it has one scale
per tensor of activations. With a base-size encoder, such as all-mpnet-base-v2, it loses more micro F1 than quantize.py
allows; with a small one, fewer questions keep the tags of fp32; and a question's tags depend on those beside it in a
batch. benchmarks/int8_recipes.py and frontier.py compare them; README.md has the figures.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from tagging.tagger import import_onnxruntime

OPSET = 21  # the first whose QuantizeLinear takes a scale per block, here a token
MIN_ROWS = 500  # smaller tables, such as those of token types, stay in fp32
SMOOTHING = 0.5  # SmoothQuant's alpha
MIN_SCALE = 1e-12
# The zero points of unsigned activations: in the middle, or low where hardly any are negative, as behind GELU and ReLU.
MIDDLE, LOW = 128, 24
# The largest value of any token over that of the median token, up to which all tokens share one scale. Behind GELU and
# ReLU, where each neuron fires for few tokens, one scale costs most of what int8 loses.
MAX_SPREAD = 6.0


def quantize_matrices(model: ModelProto, feeds: Sequence[dict[str, np.ndarray]]) -> None:
    """Replace the products with weight matrices in a float model by int8 ones, in place.

    ``feeds`` are inputs like those that the model will get; they decide the factors of the channels and the scales.
    """
    graph = model.graph
    weights = {initializer.name: initializer for initializer in graph.initializer}
    products: dict[str, list[NodeProto]] = {}  # by their input: attention's query, key and value share one
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in weights and len(weights[node.input[1]].dims) == 2:
            products.setdefault(node.input[0], []).append(node)
    if not products:
        return
    ranges = observe(model, list(products), feeds)
    matrices = {
        node.input[1]: numpy_helper.to_array(weights[node.input[1]]) for nodes in products.values() for node in nodes
    }
    roundings: dict[str, Rounding] = {}  # of inputs and of matrices
    for inputs in sharing_matrices(products):
        names = list(dict.fromkeys(node.input[1] for name in inputs for node in products[name]))
        lows, highs = zip(*(ranges[name] for name in inputs), strict=True)
        joined = np.concatenate([matrices[name] for name in names], axis=1)
        rounding = choose_rounding(np.min(lows, axis=0), np.max(highs, axis=0), joined)
        roundings |= dict.fromkeys(inputs + names, rounding)
    scales = shared_scales(model, {name: roundings[name] for name in products}, feeds)
    biases = added_biases(graph, [node for nodes in products.values() for node in nodes], weights)
    for name, matrix in matrices.items():
        divisor, zero_point, _ = roundings[name]
        add_int8_matrix(graph, name, matrix * divisor[:, np.newaxis], zero_point)
    replaced: dict[str, list[NodeProto]] = {}
    for name in products:
        quantized = quantized_input(graph, name, roundings[name], scales.get(name))
        for node in products[name]:
            addition = biases.get(node.output[0]) if name in scales else None
            product = shared_scale_product(node, addition) if name in scales else token_scale_product(node)
            replaced[node.output[0]] = quantized + product
            quantized = []
            if addition:
                replaced[addition.output[0]] = []
    nodes = [part for node in graph.node for part in replaced.get(node.output[0], [node])]
    replace_nodes(graph, nodes)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def sharing_matrices(products: dict[str, list[NodeProto]]) -> Iterator[list[str]]:
    """Yield the inputs of ``products`` in groups that share no matrix with one another.

    ALBERT's layers all multiply with the same matrices: each is to be stored once, so its inputs get the same divisors.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    inputs = list(products)
    names = dict.fromkeys(node.input[1] for nodes in products.values() for node in nodes)
    matrices = {name: number for number, name in enumerate(names, start=len(inputs))}
    links = np.array([[row, matrices[node.input[1]]] for row, name in enumerate(inputs) for node in products[name]])
    size = len(inputs) + len(matrices)
    _, group = connected_components(coo_array((np.ones(len(links)), links.T), shape=(size, size)), directed=False)
    for number in dict.fromkeys(group[: len(inputs)]):
        yield [name for name, its_group in zip(inputs, group, strict=False) if its_group == number]


def replace_nodes(graph, nodes: list[NodeProto]) -> None:
    """Put ``nodes`` in place of those of ``graph``, and drop the initializers that none of them uses any more."""
    del graph.node[:]
    graph.node.extend(nodes)
    used = names_used(graph)
    for initializer in [initializer for initializer in graph.initializer if initializer.name not in used]:
        graph.initializer.remove(initializer)


def names_used(graph) -> Counter[str]:
    """Count how often each name is an input of a node, those of the bodies of loops and branches too, or an output."""
    used = Counter(output.name for output in graph.output)
    for node in graph.node:
        used.update(node.input)
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                used += names_used(body)
    return used


def activations(
    model: ModelProto, names: Sequence[str], feeds: Sequence[dict[str, np.ndarray]]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (name, values of shape (tokens, channels)) of each of ``names`` for each of ``feeds``."""
    probed = ModelProto()
    probed.CopyFrom(model)
    del probed.graph.output[:]
    probed.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    session = import_onnxruntime().InferenceSession(probed.SerializeToString(), providers=["CPUExecutionProvider"])
    for feed in feeds:
        for name, values in zip(names, session.run(names, feed), strict=True):
            yield name, values.reshape(-1, values.shape[-1])


def observe(model: ModelProto, names: Sequence[str], feeds: Sequence[dict[str, np.ndarray]]) -> dict:
    """Return {name: the least and the greatest value of each channel, an array of shape (2, channels)}."""
    ranges: dict[str, np.ndarray] = {}
    for name, values in activations(model, names, feeds):
        low, high = ranges.get(name, (values[0], values[0]))
        ranges[name] = np.stack([np.minimum(values.min(axis=0), low), np.maximum(values.max(axis=0), high)])
    return ranges


def shared_scales(
    model: ModelProto, roundings: dict[str, "Rounding"], feeds: Sequence[dict[str, np.ndarray]]
) -> dict[str, np.float32]:
    """Return the scale of those activations whose tokens can share one, by name."""
    peaks: dict[str, list[np.ndarray]] = {
        name: [] for name, rounding in roundings.items() if rounding.zero_point == MIDDLE
    }
    if not peaks:
        return {}
    for name, values in activations(model, list(peaks), feeds):
        peaks[name].append(np.abs(values / roundings[name].divisor).max(axis=1))
    of_tokens = {name: np.concatenate(of_feeds) for name, of_feeds in peaks.items()}
    return {
        name: np.float32(max(sizes.max() / (255 - MIDDLE), MIN_SCALE))
        for name, sizes in of_tokens.items()
        if sizes.max() <= MAX_SPREAD * np.median(sizes)
    }


def added_biases(graph, products: list[NodeProto], weights: dict) -> dict[str, NodeProto]:
    """Return the Add of a bias, one of ``weights``, that alone reads a product, by the product's name."""
    products_by_output = {node.output[0]: node for node in products}
    used = names_used(graph)
    additions = {}
    for node in graph.node:
        if node.op_type == "Add":
            for product, bias in (node.input, reversed(node.input)):
                size = len(weights[bias].dims) if bias in weights else 0
                if size == 1 and product in products_by_output and used[product] == 1:
                    additions[product] = node
    return additions


class Rounding(NamedTuple):
    """How activations are rounded: by what each channel is divided first, shape (channels,); the zero point, and the
    least scale."""

    divisor: np.ndarray
    zero_point: int
    least_scale: float


def choose_rounding(low: np.ndarray, high: np.ndarray, matrix: np.ndarray) -> Rounding:
    """Choose it for activations from ``low`` to ``high``, shape (channels,), that are multiplied with ``matrix``."""
    if -low.min() < high.max() / 8:
        return Rounding(np.ones(len(matrix), dtype=np.float32), LOW, max(MIN_SCALE, -low.min() / LOW))
    of_activations = np.maximum(np.maximum(-low, high), 1e-5)
    of_weights = np.maximum(np.abs(matrix).max(axis=1), 1e-5)
    divisor = of_activations**SMOOTHING / of_weights ** (1 - SMOOTHING)
    return Rounding(divisor.astype(np.float32), MIDDLE, MIN_SCALE)


def quantized_input(graph, name: str, rounding: Rounding, shared_scale: np.float32 | None) -> list[NodeProto]:
    """Return the nodes that give NAME_int8 and NAME_scale of the activations ``name``; add their constants.

    Without a scale that all tokens share, NAME_scale is computed per token.
    """
    divisor, zero_point, least_scale = rounding

    def constant(kind: str, value) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), f"{name}_{kind}"))
        return f"{name}_{kind}"

    make = helper.make_node
    nodes = []
    smooth = sized = name
    if zero_point == MIDDLE:
        smooth = f"{name}_smooth"
        nodes.append(make("Mul", [name, constant("factor", 1 / divisor)], [smooth]))
    if shared_scale is not None:
        scale, zero = constant("scale", shared_scale), constant("zero", np.uint8(zero_point))
        return [*nodes, make("QuantizeLinear", [smooth, scale, zero], [f"{name}_int8"])]
    if zero_point == MIDDLE:
        sized = f"{name}_size"
        nodes.append(make("Abs", [smooth], [sized]))
    top = 255 - zero_point
    peak, needed, scale, shape, zeros = (f"{name}_{kind}" for kind in ("peak", "needed", "scale", "shape", "zeros"))
    zero_value = helper.make_tensor("zero_point", onnx.TensorProto.UINT8, [1], [zero_point])
    return [
        *nodes,
        make("ReduceMax", [sized, constant("axes", np.array([-1]))], [peak]),
        make("Mul", [peak, constant("step", np.float32(1 / top))], [needed]),
        make("Max", [needed, constant("least", np.float32(least_scale))], [scale]),
        make("Shape", [scale], [shape]),
        make("ConstantOfShape", [shape], [zeros], value=zero_value),
        make("QuantizeLinear", [smooth, scale, zeros], [f"{name}_int8"], axis=-1, block_size=len(divisor)),
    ]


# What a product takes of a matrix, each under the matrix's name and one of these endings.
MATRIX_PARTS = ("product_int8", "product_scales", "product_one", "product_zero_point")


def add_int8_matrix(graph, name: str, matrix: np.ndarray, zero_point: int) -> None:
    """Add the constants MATRIX_PARTS of the matrix ``name`` for activations of ``zero_point``."""
    constants = (*round_columns(matrix), np.float32(1), np.uint8(zero_point))
    for part, value in zip(MATRIX_PARTS, constants, strict=True):
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), f"{name}_{part}"))


def shared_scale_product(node: NodeProto, addition: NodeProto | None) -> list[NodeProto]:
    """Return what takes the place of ``node``, a product, and of the ``addition`` of its bias, if there is one."""
    name, matrix = node.input
    weights, scales, _, zero = (f"{matrix}_{part}" for part in MATRIX_PARTS)
    inputs = [f"{name}_int8", weights, f"{name}_scale", scales, zero]
    if addition:
        (bias,) = (other for other in addition.input if other != node.output[0])
        inputs += ["", bias]
    output = (addition or node).output[0]
    return [helper.make_node("MatMulIntegerToFloat", inputs, [output], domain="com.microsoft")]


def token_scale_product(node: NodeProto) -> list[NodeProto]:
    """Return what takes the place of ``node``, a product of an input with one scale per token."""
    (name, matrix), output = node.input, node.output[0]
    weights, scales, one, zero = (f"{matrix}_{part}" for part in MATRIX_PARTS)
    inputs = [f"{name}_int8", weights, one, scales, zero]
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
    scales = (np.maximum(np.maximum(*sums), MIN_SCALE) / 127).astype(np.float32)
    return np.round(matrix / scales).astype(np.int8), scales


def quantize_tables(model: ModelProto) -> None:
    """Replace each large table of vectors by int8 ones with one scale per row, in place.

    onnxruntime's own quantizers know one scale per table, which a single outlier spoils. A table that is more than
    looked up in, such as word vectors that also make the output, stays: a second form of it would only add to the file.
    """
    graph = model.graph
    lookups = Counter(node.input[0] for node in graph.node if node.op_type == "Gather" and not on_columns(node))
    used = names_used(graph)
    tables = set()
    for table in list(graph.initializer):
        if len(table.dims) == 2 and table.dims[0] >= MIN_ROWS and 0 < lookups[table.name] == used[table.name]:
            tables.add(table.name)
            vectors = numpy_helper.to_array(table)
            scales = np.maximum(np.abs(vectors).max(axis=1, keepdims=True), MIN_SCALE).astype(np.float32) / 127
            for part, values in {"int8": np.round(vectors / scales).astype(np.int8), "scale": scales}.items():
                graph.initializer.append(numpy_helper.from_array(values, f"{table.name}_{part}"))
    nodes = [
        part
        for node in graph.node
        for part in (int8_lookup(node) if node.input and node.input[0] in tables else [node])
    ]
    replace_nodes(graph, nodes)


def on_columns(gather: NodeProto) -> bool:
    """Tell whether a Gather takes columns of its table, not rows."""
    return any(attribute.name == "axis" and attribute.i != 0 for attribute in gather.attribute)


def int8_lookup(gather: NodeProto) -> list[NodeProto]:
    """Return the nodes in place of ``gather``, which look up in the int8 form of its table."""
    (table, rows), output = gather.input, gather.output[0]
    int8, scale, as_float = (f"{output}_looked_up_{kind}" for kind in ("int8", "scale", "float"))
    return [
        helper.make_node("Gather", [f"{table}_int8", rows], [int8], axis=0),
        helper.make_node("Gather", [f"{table}_scale", rows], [scale], axis=0),
        helper.make_node("Cast", [int8], [as_float], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [as_float, scale], [output]),
    ]
