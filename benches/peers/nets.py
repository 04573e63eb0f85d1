"""The networks of the comparison as ONNX, with seeded He-initialised weights.

Every network takes "pair", [1, 2, z, y, x] in 0 to 1, and gives "flow", [1, 3, z, y, x]. Trained
weights would not change the time, and random ones need no data and no framework to make.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
SAME = (0, 0, 0, 1, 1, 1)  # TensorFlow's padding of a 3x3x3 convolution of stride 2, even sizes


@dataclass
class Tensor:
    name: str
    channels: int
    size: tuple  # z, y, x


class Graph:
    """Adds one layer per call, and counts its multiply-accumulates and parameters."""

    def __init__(self, size, slope):
        self.nodes, self.weights = [], []
        self.macs = self.parameters = 0
        self.slope = slope  # of the LeakyReLU; 0 is a ReLU
        self.random = np.random.default_rng(1)
        self.pair = Tensor("pair", 2, tuple(size))

    def _add(self, op, inputs, channels, size, **attributes):
        name = f"{op}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
        return Tensor(name, channels, tuple(size))

    def _constant(self, values, dtype=np.float32):
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def _weights(self, shape, fan_in, out):
        weight = self.random.normal(0, (2 / fan_in) ** 0.5, shape)
        bias = self.random.normal(0, 0.05, out)
        self.parameters += weight.size + out
        return [self._constant(weight), self._constant(bias)]

    def act(self, x):
        if self.slope == 0:
            return self._add("Relu", [x.name], x.channels, x.size)
        return self._add("LeakyRelu", [x.name], x.channels, x.size, alpha=self.slope)

    def conv(self, x, out, kernel, stride=1, pads=None, act=True):
        pads = pads or ((kernel - 1) // 2,) * 6
        size = [
            (n + pads[d] + pads[d + 3] - kernel) // stride + 1 for d, n in enumerate(x.size)
        ]
        fan_in = x.channels * kernel**3
        self.macs += out * fan_in * int(np.prod(size))
        inputs = [x.name, *self._weights((out, x.channels) + (kernel,) * 3, fan_in, out)]
        y = self._add("Conv", inputs, out, size, strides=[stride] * 3, pads=pads,
                      kernel_shape=[kernel] * 3)
        return self.act(y) if act else y

    def deconv(self, x, out, kernel=4, act=True):
        """A transposed convolution of stride 2 that doubles the size."""
        fan_in = x.channels * (kernel // 2) ** 3
        self.macs += x.channels * out * kernel**3 * int(np.prod(x.size))
        inputs = [x.name, *self._weights((x.channels, out) + (kernel,) * 3, fan_in, out)]
        y = self._add("ConvTranspose", inputs, out, [2 * n for n in x.size], strides=[2] * 3,
                      pads=[kernel // 2 - 1] * 6, kernel_shape=[kernel] * 3)
        return self.act(y) if act else y

    def norm(self, x):
        """Instance norm. Its shift of 2 leaves little to bend between two norms: without it, a
        random network makes a thousand times more of every rounding error."""
        self.parameters += 2 * x.channels
        scale = self._constant(self.random.normal(1, 0.1, x.channels))
        shift = self._constant(self.random.normal(2, 0.1, x.channels))
        inputs = [x.name, scale, shift]
        return self._add("InstanceNormalization", inputs, x.channels, x.size, epsilon=1e-5)

    def concat(self, *parts):
        channels = sum(p.channels for p in parts)
        return self._add("Concat", [p.name for p in parts], channels, parts[0].size, axis=1)

    def nearest2(self, x):
        inputs = [x.name, "", self._constant([1, 1, 2, 2, 2])]
        return self._add("Resize", inputs, x.channels, [2 * n for n in x.size], mode="nearest",
                         coordinate_transformation_mode="asymmetric", nearest_mode="floor")

    def scale(self, x, factor):
        return self._add("Mul", [x.name, self._constant(factor)], x.channels, x.size)

    def finish(self, flow):
        self.nodes[-1].output[0] = "flow"
        tensors = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, t.channels, *t.size])
            for name, t in (("pair", self.pair), ("flow", flow))
        ]
        graph = helper.make_graph(self.nodes, "net", tensors[:1], tensors[1:], self.weights)
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def ldr_text(size):
    """The student of the LDR paper's text: 4x4x4 kernels of stride 2, ReLU."""
    g = Graph(size, slope=0)
    maps = [g.pair]
    for channels in (16, 32, 64, 128):
        maps.append(g.conv(maps[-1], channels, 4, 2))
    x = maps.pop()
    for channels in (64, 32, 16):
        x = g.concat(g.deconv(x, channels), maps.pop())
    return g, g.deconv(x, 3, act=False)


def ldr_code(size):
    """The student that its authors released: 3x3x3 kernels, most of the work at full size."""
    g = Graph(size, slope=0.1)
    maps = [g.pair]
    for channels in (32, 32, 32, 16):
        maps.append(g.conv(maps[-1], channels, 3, 2, SAME))
    x = g.conv(maps.pop(), 32, 3)
    for _ in range(3):
        x = g.conv(g.concat(g.nearest2(x), maps.pop()), 32, 3)
    x = g.conv(x, 16, 3)
    x = g.concat(g.nearest2(x), maps.pop())
    x = g.conv(g.conv(x, 16, 3), 16, 3)
    return g, g.conv(x, 3, 3, act=False)


def vtn(size):
    """VTN's base network: a flow is predicted and refined at every level."""
    g = Graph(size, slope=0.1)
    maps, x = [], g.pair
    for channels in (16, 32, 64, 128, 256, 512):
        x = g.conv(x, channels, 3, 2, SAME)
        if channels >= 64:
            x = g.conv(x, channels, 3)
        maps.append(x)
    x = maps.pop()
    for channels in (256, 128, 64, 32, 16):
        flow = g.deconv(g.conv(x, 3, 3, act=False), 3, act=False)
        x = g.concat(maps.pop(), g.deconv(x, channels), flow)
    return g, g.scale(g.deconv(x, 3, act=False), 20)


def unet(size):
    """A U-Net of nnU-Net's kind: two 3x3x3 convolutions with instance norm per level."""
    g = Graph(size, slope=0.01)

    def block(x, channels, stride=1):
        for s in (stride, 1):
            x = g.act(g.norm(g.conv(x, channels, 3, s, act=False)))
        return x

    maps, x = [], g.pair
    for channels in (32, 64, 128, 256, 320):
        x = block(x, channels, stride=2 if maps else 1)
        maps.append(x)
    x = maps.pop()
    while maps:
        skip = maps.pop()
        x = block(g.concat(g.deconv(x, skip.channels, 2, act=False), skip), skip.channels)
    return g, g.conv(x, 3, 1, act=False)


# name: (builder, z y x)
NETS = {
    "ldr-text-64": (ldr_text, (64, 64, 64)),
    "ldr-text-96": (ldr_text, (96, 96, 96)),
    "ldr-text-128": (ldr_text, (128, 128, 128)),
    "ldr-text-160x192x224": (ldr_text, (160, 192, 224)),
    "ldr-code-64": (ldr_code, (64, 64, 64)),
    "ldr-code-128": (ldr_code, (128, 128, 128)),
    "vtn-128": (vtn, (128, 128, 128)),
    "unet-96": (unet, (96, 96, 96)),
}


def build(name):
    """The model, its multiply-accumulates and its parameters."""
    builder, size = NETS[name]
    graph, flow = builder(size)
    return graph.finish(flow), graph.macs, graph.parameters


def voxels(name):
    return int(np.prod(NETS[name][1]))


def phantom(size, seed):
    """A smooth pair: bright ellipsoids on a gradient, the second one displaced; 0 to 1."""
    random = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in size), indexing="ij",
                       sparse=True)
    blobs = [(random.uniform(-0.6, 0.6, 3), random.uniform(0.1, 0.5, 3), random.uniform(0.3, 1))
             for _ in range(12)]
    pair = np.empty((1, 2, *size), np.float32)
    for image, shift in zip(pair[0], (np.zeros(3), random.uniform(-0.1, 0.1, 3))):
        image[:] = 0.2 + 0.1 * axes[2]
        for centre, width, height in blobs:
            r2 = sum(((a - c - s) / w) ** 2 for a, c, s, w in zip(axes, centre, shift, width))
            image += np.float32(height) * np.exp(-(r2**2)).astype(np.float32)
        image += random.normal(0, 0.02, size).astype(np.float32)
        image -= image.min()
        image /= image.max()
    return pair
