"""The engine against onnxruntime on random networks, at every SIMD level and thread count."""

import json
import subprocess

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from test_onnx import server  # noqa: F401  (a fixture)


def levels():
    flags = open("/proc/cpuinfo").read()
    names = {"avx2": "avx2", "avxvnni": "avx_vnni", "avx512": "avx512bw", "vnni": "avx512_vnni"}
    return ["scalar", *[name for name, flag in names.items() if flag in flags]]


class Net:
    """Builds a network of one input node by node."""

    def __init__(self, shape, seed):
        self.rng = np.random.default_rng(seed)
        self.shape, self.nodes, self.weights = shape, [], []

    def weight(self, *shape):
        name = f"w{len(self.weights)}"
        values = self.rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]) + 1)
        self.weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def constant(self, values):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def add(self, op, inputs, **attributes):
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def save(self, path, *outputs):
        value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        graph = helper.make_graph(
            self.nodes, "net", [value("x", self.shape)], [value(o, None) for o in outputs],
            self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(onnx.shape_inference.infer_shapes(model), path)


def random_conv(net, name, channels, spatial, transposed):
    rng = net.rng
    groups = int(rng.choice([1, 1, 1, 2])) if channels % 2 == 0 else 1
    kernel = [int(k) for k in rng.integers(1, 8 if spatial == 2 else 5, spatial)]
    out = int(rng.choice([1, 2, 3, 4, 8, 17, 24, 40])) * groups
    stride = [int(s) for s in rng.integers(1, 3, spatial)]
    pads = [int(rng.integers(0, (k + 1) // 2 + (not transposed and k > 1))) for k in kernel * 2]
    attributes = {"strides": stride, "pads": pads, "group": groups, "kernel_shape": kernel}
    if transposed:
        shape = (channels, out // groups, *kernel)
        attributes["pads"] = [min(p, (k - 1) // 2) for p, k in zip(pads, kernel * 2)]
    else:
        shape = (out, channels // groups, *kernel)
        if max(kernel) < 4:
            attributes["dilations"] = [int(d) for d in rng.integers(1, 3, spatial)]
            attributes["pads"] = [k - 1 for k in kernel * 2]
    op = "ConvTranspose" if transposed else "Conv"
    return net.add(op, [name, net.weight(*shape), net.weight(out)], **attributes), out


def run(server, folder, x, threads=1, simd="scalar"):
    x.astype("<f4").tofile(folder / "input")
    command = [server, folder / "net.onnx", folder / "input", "--threads", str(threads)]
    result = subprocess.run(
        [*command, "--simd", simd], input=f"run\noutput {folder / 'output'}\nquit\n",
        capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    ready = json.loads(result.stdout.splitlines()[0].removeprefix("ready "))
    return np.fromfile(folder / "output", "<f4"), ready["all_own"]


def expected(folder, x, exact=False):
    options = ort.SessionOptions()
    if exact:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(folder / "net.onnx", options)
    return np.concatenate([o.ravel() for o in session.run(None, {"x": x})])


def check(server, folder, x, own=True):
    wanted = expected(folder, x)
    for simd in levels():
        found, all_own = run(server, folder, x, 1, simd)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
        assert all_own == own
        for threads in (2, 3, 7):
            assert np.array_equal(run(server, folder, x, threads, simd)[0], found)


@pytest.mark.parametrize("seed", range(24))
def test_random_networks(server, tmp_path, seed):
    spatial = 2 + seed % 2
    rng = np.random.default_rng(seed)
    size = [int(n) for n in rng.integers(10, 15 if spatial == 3 else 30, spatial)]
    channels = int(rng.choice([1, 2, 3, 5, 16, 18]))
    net = Net([1, channels, *size], seed)
    x = rng.normal(size=net.shape).astype(np.float32)
    name, out = random_conv(net, "x", channels, spatial, False)
    name = net.add("LeakyRelu", [name], alpha=0.1)
    name, out = random_conv(net, name, out, spatial, seed % 4 < 2)
    name = net.add("Relu", [name])
    other = net.add("Mul", [name, net.weight(1, out, *[1] * spatial)])
    name = net.add("Add", [name, other])
    name = net.add("Concat", [name, other, name], axis=1)
    scale = net.weight(3 * out), net.weight(3 * out)
    name = net.add("InstanceNormalization", [name, *scale])
    name = net.add("MaxPool", [name], kernel_shape=[2] * spatial, pads=[1] * 2 * spatial)
    scales = net.constant(np.array([1, 1] + [2] * spatial, np.float32))
    mode = ["nearest", "linear"][seed // 2 % 2]
    name = net.add("Resize", [name, "", scales], mode=mode,
                   coordinate_transformation_mode="half_pixel")
    name = net.add("AveragePool", [name], kernel_shape=[3] * spatial, pads=[1] * 2 * spatial)
    name, _ = random_conv(net, name, 3 * out, spatial, False)
    net.save(tmp_path / "net.onnx", name)
    check(server, tmp_path, x)


def test_what_is_not_ours_runs_in_tract(server, tmp_path):
    net = Net([1, 4, 6, 7, 8], 1)
    x = net.rng.normal(size=net.shape).astype(np.float32)
    name, out = net.add("Conv", ["x", net.weight(8, 4, 3, 3, 3)], pads=[1] * 6), 8
    gate = net.add("Sigmoid", [name])
    name = net.add("Relu", [name])
    name = net.add("Mul", [name, gate])
    name = net.add("Concat", [name, gate, "x"], axis=1)
    name = net.add("Conv", [name, net.weight(3, 20, 3, 3, 3)], pads=[1] * 6)
    net.save(tmp_path / "net.onnx", name, gate)
    check(server, tmp_path, x, own=False)


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_a_quantized_layer_rounds_what_real_numbers_give(server, tmp_path, op):
    """Against exact arithmetic: a code may be the other one only where f32 cannot tell on which side
    of a tie the value lies. Where whole networks differ more from onnxruntime, their later layers
    have spread such steps."""
    net = Net([1, 12, 9, 10, 11], 7)
    shape, axis = ((24, 12, 3, 3, 3), 0) if op == "Conv" else ((12, 24, 4, 4, 4), 1)
    codes = net.rng.integers(-127, 128, net.shape)
    weight = net.rng.integers(-127, 128, shape)
    bias = net.rng.integers(-100_000, 100_000, 24)
    x_scale, y_scale = np.float32(0.013), np.float32(0.1)
    scales = net.rng.uniform(0.002, 0.01, 24).astype(np.float32)

    # Sums of codes stay below 2^24, so f32 adds them exactly.
    layer = dict(pads=[1] * 6, strides=[2] * 3, kernel_shape=shape[2:])
    whole = net.add(op, ["x", net.constant(weight.astype(np.float32))], **layer)
    net.save(tmp_path / "net.onnx", whole)
    sums = expected(tmp_path, codes.astype(np.float32)).astype(np.float64).reshape(24, -1)
    steps = (sums + bias[:, None]) * (np.float64(x_scale) * scales / y_scale)[:, None]
    wanted = np.clip(np.rint(steps), -128, 127)

    net.nodes, net.weights = [], []
    zero, zeros = net.constant(np.int8(0)), net.constant(np.zeros(24, np.int8))
    x = [net.constant(x_scale), zero]
    name = net.add("DequantizeLinear", [net.add("QuantizeLinear", ["x", *x]), *x])
    weight = [net.constant(weight.astype(np.int8)), net.constant(scales), zeros]
    bias = [net.constant(bias.astype(np.int32)), net.constant(x_scale * scales)]
    name = net.add(op, [name, net.add("DequantizeLinear", weight, axis=axis),
                        net.add("DequantizeLinear", bias, axis=0)], **layer)
    y = [net.constant(y_scale), zero]
    name = net.add("DequantizeLinear", [net.add("QuantizeLinear", [name, *y]), *y])
    net.save(tmp_path / "net.onnx", name)
    tie = np.abs(np.abs(steps - np.rint(steps)) - 0.5) < 1e-5
    for simd in levels():
        found, own = run(server, tmp_path, codes * x_scale, 1, simd)
        found = np.rint(found / y_scale).reshape(wanted.shape)
        assert own
        assert np.array_equal(found[~tie], wanted[~tie])
        assert np.abs(found - wanted).max() <= 1


class Samples(CalibrationDataReader):
    def __init__(self, samples):
        self.samples = iter(samples)

    def get_next(self):
        sample = next(self.samples, None)
        return None if sample is None else {"x": sample}


@pytest.mark.parametrize("activations", [QuantType.QInt8, QuantType.QUInt8])
def test_quantize_static(server, tmp_path, activations):
    """QDQ as onnxruntime writes it, asymmetric too: exact but for rounding at ties."""
    net = Net([1, 2, 12, 10, 14], 5)
    samples = [net.rng.normal(size=net.shape).astype(np.float32) for _ in range(4)]
    pads = [1] * 6
    a = net.add("Conv", ["x", net.weight(16, 2, 4, 4, 4), net.weight(16)], strides=[2] * 3, pads=pads)
    a = net.add("Relu", [a])
    b = net.add("Conv", [a, net.weight(24, 16, 3, 3, 3), net.weight(24)], pads=pads)
    b = net.add("LeakyRelu", [b], alpha=0.1)
    c = net.add("Concat", [a, b], axis=1)
    c = net.add("MaxPool", [c], kernel_shape=[2] * 3, pads=[0, 0, 0, 1, 1, 1])
    d = net.add("ConvTranspose", [c, net.weight(40, 3, 4, 4, 4), net.weight(3)],
                strides=[2] * 3, pads=pads)
    net.save(tmp_path / "f32.onnx", d)
    quantize_static(
        tmp_path / "f32.onnx", tmp_path / "net.onnx", Samples(samples),
        quant_format=QuantFormat.QDQ, activation_type=activations, weight_type=QuantType.QInt8,
        per_channel=True)
    wanted = expected(tmp_path, samples[0], exact=True)
    step = np.unique(np.abs(wanted))[1]
    outputs = {}
    for simd in levels():
        for threads in (1, 2, 3, 7):
            found, own = run(server, tmp_path, samples[0], threads, simd)
            outputs[simd, threads] = found
            assert own
    first = outputs["scalar", 1]
    assert all(np.array_equal(first, o) for o in outputs.values()), "the same bits at every level"
    difference = np.abs(first - wanted) / step
    assert difference.max() < 2.5 and (difference > 0.5).mean() < 0.01
