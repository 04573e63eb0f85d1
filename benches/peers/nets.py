"""The networks of the comparison as ONNX, with seeded He-initialized weights.

Those of volumes take "pair", [1, 2, z, y, x] in 0 to 1, and give "flow", [1, 3, z, y, x]; those of
frames take "frame", [1, 1, y, x], and give "heatmaps", [1, 4, y / 4, x / 4]. Trained weights would
not change the time, and random ones need no data and no framework to make.
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
    size: tuple  # z, y, x; frames have no z


class Graph:
    """Adds one layer per call, and counts its multiply-accumulates and parameters."""

    def __init__(self, size, slope, limit=None):
        self.nodes, self.weights = [], []
        self.macs = self.parameters = 0
        self.slope = slope  # of the LeakyReLU; 0 is a ReLU
        self.limit = limit  # of a ReLU6 and the like
        self.random = np.random.default_rng(1)
        self.axes = len(size)
        name, channels = ("pair", 2) if self.axes == 3 else ("frame", 1)
        self.input = Tensor(name, channels, tuple(size))

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
        if self.limit is not None:
            inputs = [x.name, self._constant(0), self._constant(self.limit)]
            return self._add("Clip", inputs, x.channels, x.size)
        if self.slope == 0:
            return self._add("Relu", [x.name], x.channels, x.size)
        return self._add("LeakyRelu", [x.name], x.channels, x.size, alpha=self.slope)

    def conv(self, x, out, kernel, stride=1, pads=None, act=True, groups=1, shrink=1):
        """`shrink` divides the variance of the output: sums of many layers must not grow."""
        kernels, strides = [kernel] * self.axes, [stride] * self.axes
        pads = pads or ((kernel - 1) // 2,) * 2 * self.axes
        size = self._reduced(x.size, kernel, stride, pads)
        fan_in = x.channels // groups * kernel**self.axes
        self.macs += out * fan_in * int(np.prod(size))
        shape = (out, x.channels // groups, *kernels)
        inputs = [x.name, *self._weights(shape, shrink * fan_in, out)]
        y = self._add("Conv", inputs, out, size, strides=strides, pads=pads, kernel_shape=kernels,
                      group=groups)
        return self.act(y) if act else y

    def _reduced(self, size, kernel, stride, pads):
        sides = zip(size, pads, pads[self.axes:])
        return [(n + before + after - kernel) // stride + 1 for n, before, after in sides]

    def max_pool(self, x, kernel, stride):
        pads = ((kernel - 1) // 2,) * 2 * self.axes
        size = self._reduced(x.size, kernel, stride, pads)
        return self._add("MaxPool", [x.name], x.channels, size, strides=[stride] * self.axes,
                         pads=pads, kernel_shape=[kernel] * self.axes)

    def deconv(self, x, out, kernel=4, act=True):
        """A transposed convolution of stride 2 that doubles the size."""
        kernels, strides = [kernel] * self.axes, [2] * self.axes
        fan_in = x.channels * (kernel // 2) ** self.axes
        self.macs += x.channels * out * kernel**self.axes * int(np.prod(x.size))
        inputs = [x.name, *self._weights((x.channels, out, *kernels), fan_in, out)]
        y = self._add("ConvTranspose", inputs, out, [2 * n for n in x.size], strides=strides,
                      pads=[kernel // 2 - 1] * 2 * self.axes, kernel_shape=kernels)
        return self.act(y) if act else y

    def norm(self, x):
        """Instance norm. Its shift of 2 leaves little to bend between two norms: without it, a
        random network makes a thousand times more of every rounding error."""
        self.parameters += 2 * x.channels
        scale = self._constant(self.random.normal(1, 0.1, x.channels))
        shift = self._constant(self.random.normal(2, 0.1, x.channels))
        inputs = [x.name, scale, shift]
        return self._add("InstanceNormalization", inputs, x.channels, x.size, epsilon=1e-5)

    def add(self, a, b):
        return self._add("Add", [a.name, b.name], a.channels, a.size)

    def concat(self, *parts):
        channels = sum(p.channels for p in parts)
        return self._add("Concat", [p.name for p in parts], channels, parts[0].size, axis=1)

    def nearest2(self, x):
        inputs = [x.name, "", self._constant([1, 1] + [2] * self.axes)]
        return self._add("Resize", inputs, x.channels, [2 * n for n in x.size], mode="nearest",
                         coordinate_transformation_mode="asymmetric", nearest_mode="floor")

    def scale(self, x, factor):
        return self._add("Mul", [x.name, self._constant(factor)], x.channels, x.size)

    def finish(self, last):
        output = Tensor("flow" if self.axes == 3 else "heatmaps", last.channels, last.size)
        self.nodes[-1].output[0] = output.name
        tensors = [
            helper.make_tensor_value_info(t.name, TensorProto.FLOAT, [1, t.channels, *t.size])
            for t in (self.input, output)
        ]
        graph = helper.make_graph(self.nodes, "net", tensors[:1], tensors[1:], self.weights)
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def ldr_text(size):
    """The student of the LDR paper's text: 4x4x4 kernels of stride 2, ReLU."""
    g = Graph(size, slope=0)
    maps = [g.input]
    for channels in (16, 32, 64, 128):
        maps.append(g.conv(maps[-1], channels, 4, 2))
    x = maps.pop()
    for channels in (64, 32, 16):
        x = g.concat(g.deconv(x, channels), maps.pop())
    return g, g.deconv(x, 3, act=False)


def ldr_code(size):
    """The student that its authors released: 3x3x3 kernels, most of the work at full size."""
    g = Graph(size, slope=0.1)
    maps = [g.input]
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
    maps, x = [], g.input
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

    maps, x = [], g.input
    for channels in (32, 64, 128, 256, 320):
        x = block(x, channels, stride=2 if maps else 1)
        maps.append(x)
    x = maps.pop()
    while maps:
        skip = maps.pop()
        x = block(g.concat(g.deconv(x, skip.channels, 2, act=False), skip), skip.channels)
    return g, g.conv(x, 3, 1, act=False)


def resnet18_heatmaps(size):
    """ResNet-18 and three transposed convolutions, "simple baselines" (B. Xiao et al., ECCV 2018),
    without its batch norms, which every engine folds into the convolutions."""
    g = Graph(size, slope=0)
    x = g.max_pool(g.conv(g.input, 64, 7, 2), 3, 2)
    for channels in (64, 128, 256, 512):
        for _ in range(2):
            stride = 1 if x.channels == channels else 2
            y = g.conv(x, channels, 3, stride)
            y = g.conv(y, channels, 3, act=False, shrink=4)
            if stride == 2:
                x = g.conv(x, channels, 1, 2, act=False, shrink=2)
            x = g.act(g.add(y, x))
    for _ in range(3):
        x = g.deconv(x, 256)
    return g, g.conv(x, 4, 1, act=False)


def mobilenetv2_heatmaps(size):
    """MobileNetV2 up to its last bottleneck (M. Sandler et al., CVPR 2018), and three transposed
    convolutions to few channels."""
    g = Graph(size, slope=0, limit=6)
    x = g.conv(g.input, 32, 3, 2)
    # Expansion, channels, repeats, stride of the first.
    for expand, channels, repeats, first in (
            (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
            (6, 160, 3, 2), (6, 320, 1, 1)):
        for stride in [first] + [1] * (repeats - 1):
            wide = expand * x.channels
            y = g.conv(x, wide, 1) if expand > 1 else x
            y = g.conv(y, wide, 3, stride, groups=wide)
            sums = stride == 1 and x.channels == channels
            y = g.conv(y, channels, 1, act=False, shrink=8 if sums else 2)
            x = g.add(x, y) if sums else y
    for _ in range(3):
        x = g.deconv(x, 64)
    return g, g.conv(x, 4, 1, act=False)


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
    "resnet18-heatmap-256": (resnet18_heatmaps, (256, 256)),
    "mobilenetv2-heatmap-256": (mobilenetv2_heatmaps, (256, 256)),
}


def build(name):
    """The model, its multiply-accumulates and its parameters."""
    builder, size = NETS[name]
    graph, last = builder(size)
    return graph.finish(last), graph.macs, graph.parameters


def voxels(name):
    return int(np.prod(NETS[name][1]))


def phantom(size, seed):
    """An input: bright ellipsoids on a gradient, 0 to 1; of volumes a second one, displaced."""
    random = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in size), indexing="ij",
                       sparse=True)
    n = len(size)
    blobs = [(random.uniform(-0.6, 0.6, n), random.uniform(0.1, 0.5, n), random.uniform(0.3, 1))
             for _ in range(12)]
    images = np.empty((1, 2 if n == 3 else 1, *size), np.float32)
    for image, shift in zip(images[0], (np.zeros(n), random.uniform(-0.1, 0.1, n))):
        image[:] = 0.2 + 0.1 * axes[-1]
        for center, width, height in blobs:
            r2 = sum(((a - c - s) / w) ** 2 for a, c, s, w in zip(axes, center, shift, width))
            image += np.float32(height) * np.exp(-(r2**2)).astype(np.float32)
        image += random.normal(0, 0.02, size).astype(np.float32)
        image -= image.min()
        image /= image.max()
    return images
