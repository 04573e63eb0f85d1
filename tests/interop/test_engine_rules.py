"""What fusing and laying out must not change, checked against onnxruntime; and models that break
ONNX's rules, which must end in a message."""

import resource
import subprocess

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_engine import Net, check, expected, levels, run
from test_onnx import server  # noqa: F401  (a fixture)


def codes(net, name, scale, zero=0):
    """Through int8 and back."""
    scale, zero = net.constant(np.float32(scale)), net.constant(np.int8(zero))
    code = net.add("QuantizeLinear", [name, scale, zero])
    return net.add("DequantizeLinear", [code, scale, zero])


def int8_weight(net, *shape, scale=0.01):
    values = net.rng.integers(-127, 128, shape).astype(np.int8)
    scales = np.full(shape[0], scale, np.float32)
    inputs = [net.constant(v) for v in (values, scales, np.zeros(shape[0], np.int8))]
    return net.add("DequantizeLinear", inputs, axis=0)


def random_input(net):
    return net.rng.normal(size=net.shape).astype(np.float32)


def compare(server, folder, net, *outputs, step=0.0, x=None):
    """`step` is that of int8 outputs: a few values may be one apart."""
    net.save(folder / "net.onnx", *outputs)
    x = random_input(net) if x is None else x
    wanted = expected(folder, x, exact=True)
    for simd in levels():
        found, _ = run(server, folder, x, 1, simd)
        difference = np.abs(found - wanted)
        bound = 1e-4 * np.abs(wanted).max()
        assert difference.max() <= bound + 1.01 * step and (difference > bound).mean() < 0.02, simd


@pytest.mark.parametrize("channels", [3, 40])
def test_a_clip_before_int8_is_in_real_units(server, tmp_path, channels):
    net = Net([1, 5, 6, 7, 9], 0)
    name = net.add("Conv", [codes(net, "x", 0.05), int8_weight(net, channels, 5, 3, 3, 3)], pads=[1] * 6)
    bounds = [net.constant(np.float32(v)) for v in (0, 6)]
    name = codes(net, net.add("Clip", [name, *bounds]), 0.05)
    # Something that reads int8, so that the convolution writes it.
    name = net.add("MaxPool", [name], kernel_shape=[1, 1, 1])
    compare(server, tmp_path, net, name, step=0.05)


@pytest.mark.parametrize("channels, size, kernel, stride", [
    (32, (9, 12), 3, 1), (32, (9, 13), 3, 2), (21, (7, 8), 5, 1), (100, (6, 10), 5, 2),
    (6, (5, 6, 7), 3, 1), (40, (4, 5, 6), 3, 2)])
def test_depthwise(server, tmp_path, channels, size, kernel, stride):
    net, axes = Net([1, channels, *size], 3), len(size)
    weight = net.weight(channels, 1, *[kernel] * axes)
    name = net.add("Conv", ["x", weight, net.weight(channels)], group=channels,
                   strides=[stride] * axes, pads=[kernel // 2] * 2 * axes)
    bounds = [net.constant(np.float32(v)) for v in (0, 1)]
    net.save(tmp_path / "net.onnx", net.add("Clip", [name, *bounds]))
    check(server, tmp_path, random_input(net))


@pytest.mark.parametrize("stride", [1, 2])
def test_an_inverted_residual_in_int8(server, tmp_path, stride):
    """As quantizers write it: with codes before and after a Relu6 of one scale, and sums of codes.
    Weights of few codes keep what rounds differently rare."""
    net = Net([1, 24, 10, 12], 4)
    bounds = [net.constant(np.float32(v)) for v in (0, 6)]

    def layer(name, out, inputs, kernel, scale, **attributes):
        weight = int8_weight(net, out, inputs, kernel, kernel, scale=scale)
        name = net.add("Conv", [name, weight, net.weight(out)], pads=[kernel // 2] * 4, **attributes)
        return codes(net, name, 0.05)

    x = codes(net, "x", 0.05)
    name = codes(net, net.add("Clip", [layer(x, 80, 24, 1, 0.004), *bounds]), 0.05)
    name = layer(name, 80, 1, 3, 0.008, group=80, strides=[stride] * 2)
    name = codes(net, net.add("Clip", [name, *bounds]), 0.05)
    name = layer(name, 24, 80, 1, 0.002)
    if stride == 1:
        name = codes(net, net.add("Add", [name, x]), 0.05)
    # Something that reads int8, so that what comes before it writes int8.
    name = net.add("MaxPool", [name], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    compare(server, tmp_path, net, name, step=0.05)


@pytest.mark.parametrize("op", ["Conv", "InstanceNormalization"])
def test_what_computes_f32_never_writes_int8(server, tmp_path, op):
    net = Net([1, 5, 6, 7, 9], 0)
    shapes = [(40, 5, 3, 3, 3)] if op == "Conv" else [(5,), (5,)]
    name = net.add(op, ["x", *[net.weight(*s) for s in shapes]])
    # A branch that leads nowhere hides, at first, that the other Relu could be fused.
    net.add("Relu", [name])
    compare(server, tmp_path, net, codes(net, net.add("Relu", [name]), 0.05), step=0.05)


@pytest.mark.parametrize("node", [
    # A tile has 8 positions, 64 voxels apart: far past the image's end.
    ("Conv", [(1, 4096, 1, 1)], [1, 4096, 1, 65], {"strides": [1, 64]}),
    # Windows wholly in the padding.
    ("Conv", [(9, 6, 1, 1, 1)], [1, 6, 4, 5, 6], {"pads": [5, 5, 5, 0, 0, 0]}),
    ("ConvTranspose", [(6, 9, 4, 4, 4)], [1, 6, 4, 5, 6], {}),
    # Phases without taps.
    ("ConvTranspose", [(6, 9, 1, 2, 1)], [1, 6, 4, 5, 6],
     {"strides": [3, 4, 2], "output_padding": [2, 3, 1]}),
    ("ConvTranspose", [(6, 9, 5, 5, 5)], [1, 6, 4, 5, 6],
     {"strides": [2, 2, 2], "pads": [4, 3, 2, 1, 4, 3]}),
])
def test_windows_at_the_border(server, tmp_path, node):
    op, weights, shape, attributes = node
    net = Net(shape, 1)
    net.save(tmp_path / "net.onnx", net.add(op, ["x", *[net.weight(*w) for w in weights]], **attributes))
    check(server, tmp_path, random_input(net))


def test_cubic_is_not_nearest(server, tmp_path):
    net = Net([1, 3, 6, 7], 2)
    scales = net.constant(np.array([1, 1, 2, 2], np.float32))
    compare(server, tmp_path, net, net.add("Resize", ["x", "", scales], mode="cubic"))


def test_sizes_may_change_the_channels(server, tmp_path):
    net = Net([1, 3, 6, 7], 2)
    sizes = net.constant(np.array([1, 6, 12, 14]))
    compare(server, tmp_path, net, net.add("Resize", ["x", "", "", sizes], mode="nearest"))


def test_the_mean_of_a_large_image(server, tmp_path):
    net = Net([1, 2, 100, 100, 100], 2)
    net.save(tmp_path / "net.onnx", net.add("GlobalAveragePool", ["x"]))
    found, _ = run(server, tmp_path, np.full(net.shape, 0.1, np.float32))
    np.testing.assert_allclose(found, 0.1, rtol=1e-6)


@pytest.mark.parametrize("zero", [0, 7])
@pytest.mark.parametrize("op", ["", "Relu", "Conv", "Conv, Relu"])
def test_what_is_not_a_number_is_the_lowest_code(server, tmp_path, op, zero):
    """As in onnxruntime, at every level."""
    net = Net([1, 5, 6, 7, 9], 0)
    x, name = random_input(net), "x"
    if op.startswith("Conv"):
        bias = net.constant(np.array([np.nan, 1] * 20, np.float32))
        weight = int8_weight(net, 40, 5, 3, 3, 3)
        name = net.add("Conv", [codes(net, "x", 0.05), weight, bias], pads=[1] * 6)
        name = net.add("Relu", [name]) if op.endswith("Relu") else name
    else:
        x[0, :, 2, 3, 4] = np.nan
        name = net.add(op, ["x"]) if op else "x"
    # Something that reads int8, so that the convolution writes it.
    name = net.add("MaxPool", [codes(net, name, 0.05, zero)], kernel_shape=[1, 1, 1])
    compare(server, tmp_path, net, name, step=0.05, x=x)


@pytest.mark.parametrize("name", ["intraop.region.0", "intraop.region..1"])
@pytest.mark.parametrize("what", ["node", "tensor", "weight"])
def test_models_may_use_our_names(server, tmp_path, what, name):
    net = Net([1, 4, 6, 7], 1)
    conv = net.add("Conv", ["x", net.weight(8, 4, 3, 3)], pads=[1] * 4)
    product = net.add("Mul", [net.add("Relu", [conv]), net.add("Sigmoid", [conv])])
    last = net.add("Conv", [product, net.weight(3, 8, 3, 3)])
    sigmoid, product = net.nodes[2:4]
    if what == "node":
        sigmoid.name = name
    elif what == "tensor":
        sigmoid.name, sigmoid.output[0], product.input[1] = "", name, name
    else:
        net.weights[1].name, net.nodes[4].input[1] = name, name
    net.save(tmp_path / "net.onnx", last)
    check(server, tmp_path, random_input(net), own=False)


def test_many_groups_of_large_kernels_are_left_to_tract(server, tmp_path):
    """Ours would fill up each group's channels with zeros: 4 GiB of them."""
    net = Net([1, 70, 64, 64, 64], 2)
    net.save(tmp_path / "net.onnx", net.add("Conv", ["x", net.weight(70, 1, 64, 64, 64)], group=70))
    x = random_input(net)
    found, own = run(server, tmp_path, x, 1, levels()[-1])
    np.testing.assert_allclose(found, expected(tmp_path, x), rtol=1e-3, atol=1e-3)
    assert not own


def node(op, weights=(), **attributes):
    def build(net):
        return net.add(op, ["x", *[net.weight(*w) for w in weights]], **attributes)
    return build


def no_output(net):
    value = numpy_helper.from_array(np.float32(1))
    net.nodes.append(helper.make_node("Constant", [], [], value=value))
    net.nodes.append(helper.make_node("Identity", ["missing"], []))
    return net.add("Sigmoid", ["missing"])


def doubled(net):
    name, scales = "x", net.constant(np.array([1, 1, 2, 2, 2], np.float32))
    for _ in range(22):
        name = net.add("Resize", [name, "", scales], mode="nearest",
                       coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    return name


def on_vector(op, *shapes, **attributes):
    def build(net):
        vector = net.add("Reshape", ["x", net.constant(np.array([-1]))])
        return net.add(op, [vector, *[net.weight(*s) for s in shapes]], **attributes)
    return build


def filled(op, *lists):
    """Something large that does not depend on the input."""
    def build(net):
        many = net.add(op, [net.constant(np.array(v)) for v in lists])
        mean = net.add("ReduceMean", [net.add("Cast", [many], to=TensorProto.FLOAT)], keepdims=0)
        return net.add("Mul", ["x", mean])
    return build


def padded(net):
    pads = net.constant(np.array([0, 0, 0, 0, 0, 0, 0, 2**20, 2**20, 0]))
    # Not f32: of those, sizes are known to the part that is ours.
    cast = net.add("Cast", ["x"], to=TensorProto.INT32)
    many = net.add("Cast", [net.add("Pad", [cast, pads])], to=TensorProto.FLOAT)
    return net.add("ReduceMean", [many])


def quantized_to(kind):
    def build(net):
        scale = net.constant(np.float32(0.05))
        code = net.add("QuantizeLinear", ["x", scale], output_dtype=kind)
        return net.add("DequantizeLinear", [code, scale])
    return build


def dequantized_to_half(net):
    scale, zero = net.constant(np.float32(0.05)), net.constant(np.int8(0))
    code = net.add("QuantizeLinear", ["x", scale, zero])
    return net.add("DequantizeLinear", [code, scale, zero], output_dtype=TensorProto.FLOAT16)


def branches(net):
    inner, value = net.add("Relu", ["x"]), helper.make_tensor_value_info
    branch = lambda op: helper.make_graph(
        [helper.make_node(op, [inner], [op])], op, [], [value(op, TensorProto.FLOAT, None)])
    positive = net.add("Greater", [net.add("ReduceMax", ["x"], keepdims=0), net.constant(np.float32(0))])
    return net.add("If", [positive], then_branch=branch("Neg"), else_branch=branch("Exp"))


LARGE = 2**62
MANY = [2**15, 2**15, 4]
BROKEN = {
    "no strides": node("Conv", [(3, 3, 2, 2, 2)], strides=[0] * 3, auto_pad="SAME_UPPER"),
    "no pool strides": node("MaxPool", kernel_shape=[2] * 3, strides=[0] * 3, auto_pad="SAME_UPPER"),
    "no kernel": node("Conv", [(3, 3, 0, 2, 2)]),
    "long pads": node("Conv", [(8, 3, 1, 1, 1)], pads=[LARGE] * 6, strides=[64] * 3),
    "long pool": node("MaxPool", kernel_shape=[LARGE] * 3, pads=[LARGE - 1] * 6),
    "wide pool": node("MaxPool", kernel_shape=[2**21] * 3, pads=[2**21 - 1] * 6),
    "long output": node("ConvTranspose", [(3, 8, 1, 1, 1)], output_padding=[2**40] * 3),
    "groups": node("ConvTranspose", [(3, 4, 2, 2, 2)], group=2),
    "more groups than channels": node("ConvTranspose", [(3, 4, 2, 2, 2)], group=4),
    "two of three axes": node("MaxPool", kernel_shape=[2, 2]),
    "strides of two axes": node("Conv", [(3, 3, 1, 1, 1)], strides=[2, 2]),
    "matrix": node("Conv", [(3, 3)]),
    "no output": no_output,
    "doubled again and again": doubled,
    "nothing left": node("Conv", [(3, 3, 5, 5, 5)]),
    "a pool of everything": node("MaxPool", kernel_shape=[1, 2, 2**31]),
    "a vector's channels": on_vector("BatchNormalization", *[(1,)] * 4),
    "a vector's pool": on_vector("MaxPool", kernel_shape=[1]),
    "a vector's convolution": on_vector("Conv", (3,)),
    "codes of 16 bits": quantized_to(TensorProto.INT16),
    "signed codes": quantized_to(TensorProto.INT8),
    "half precision": dequantized_to_half,
}


UNBOUNDED = {
    "copies of a constant": filled("Tile", np.ones((1, 1, 1), np.float32), MANY),
    "copies of a whole number": filled("Expand", np.ones((1, 1, 1), np.int64), MANY),
    "zeros": filled("ConstantOfShape", MANY),
    "numbers up to": filled("Range", 0, 2 * 10**9, 1),
    "a wide border": padded,
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_models_end_in_a_message(server, tmp_path, name):
    net = Net([1, 3, 4, 4, 4], 3)
    refused(server, tmp_path, net, BROKEN[name](net))


@pytest.mark.parametrize("name", UNBOUNDED)
def test_memory_is_bounded_before_it_is_taken(server, tmp_path, name):
    net = Net([1, 3, 4, 4, 4], 3)
    said = refused(server, tmp_path, net, UNBOUNDED[name](net))
    assert "expected at most 1073741824 values" in said


def test_control_flow_is_refused(server, tmp_path):
    net = Net([1, 3, 4, 4, 4], 3)
    assert "subgraph" in refused(server, tmp_path, net, branches(net))


def test_shapes_that_cannot_be(server, tmp_path):
    # The product is 2**64 + 1.
    for shape in ([1, 1, 274177, 67280421310721], [1, 2, 6, 0]):
        net = Net(shape, 3)
        refused(server, tmp_path, net, net.add("Relu", ["x"]))


def refused(server, folder, net, output):
    value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph = helper.make_graph(
        net.nodes, "net", [value("x", net.shape)], [value(output, None)], net.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    np.ones(192, "<f4").tofile(folder / "input")
    command = [server, folder / "net.onnx", folder / "input", "--threads", "1"]
    few = lambda: resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
    result = subprocess.run(
        command, input="run\nquit\n", capture_output=True, text=True, timeout=60, preexec_fn=few)
    assert result.returncode == 1 and "Graph {" in result.stderr, result.stderr
    return result.stderr
