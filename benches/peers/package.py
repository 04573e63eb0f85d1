"""Packages in f32 and, by `intraop calibrate` and `intraop quantize`, in int8: a whole registration,
and single networks, which intraop quantizes as the only stage of one.

The registration has the size of the bars, 128 x 128 x 128: the light affine stage of LDR's released
code and three students of its text. Weights are random, as everywhere here. The last layers are
scaled, so that the stages move the image by a few voxels, less with every stage, as trained ones do.
"""

import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import numpy_helper

import nets

SIZE = (128, 128, 128)
GOLDEN_SEED = 7  # pipeline_server writes the pair of this phantom
GOLDEN_VALUES = 1000
CALIBRATION_PHANTOMS = 8


def affine(size):
    """The affine stage that LDR's authors released: W and b from the whole remaining map."""
    g = nets.Graph(size, slope=0.1)
    x = g.input
    for channels in (16, 32, 64, 128):
        x = g.conv(x, channels, 3, 2, nets.SAME)
    x = g._add("AveragePool", [x.name], x.channels, [(n - 3) // 2 + 1 for n in x.size],
               kernel_shape=[3] * 3, strides=[2] * 3)
    x = g.conv(x, 12, x.size[0], pads=(0,) * 6, act=False)
    return g, g._add("Reshape", [x.name, g._constant([1, 12], np.int64)], 12, ())


def flow(size):
    """A student of LDR's text. Its last layer interpolates: no image moves by what random
    kernels make of neighboring voxels."""
    g, x = nets.ldr_text(size)
    weight = g.weights[-2]
    linear = np.array([0.25, 0.75, 0.75, 0.25], np.float32)
    kernel = np.einsum("i,j,k->ijk", linear, linear, linear)
    mixed = 8 * numpy_helper.to_array(weight).mean((2, 3, 4), keepdims=True) * kernel
    weight.CopyFrom(numpy_helper.from_array(mixed.astype(np.float32), weight.name))
    return g, x


# name: (network, kind of head, the largest value that it gives for the golden pair)
GRAPHS = {
    "affine": (affine, "affine", 0.03),
    "flow1": (flow, "displacement", 3.0),
    "flow2": (flow, "displacement", 2.0),
    "flow3": (flow, "displacement", 1.0),
}

HEAD = """
schema = 1
name = "{name}"
version = "0.1.0"
task = "{task}"
description = "Random weights, to measure time and memory"
license = "CC0-1.0"
intended_use = "Benchmarks"
precision = "f32"
golden = {{ file = "golden.json", sha256 = "{golden}" }}
{steps}
[[preprocess]]
op = "normalize"
{normalize}
"""

# What comes before normalize: of volumes the grid, of frames the size of the input.
GRID = """
[grid]
spacing_mm = [1.0, 1.0, 1.0]
fit = "resample"
orientation = "RAS"
initial = "centers"
"""
RESIZE = """
[[preprocess]]
op = "resize"
width = {size[1]}
height = {size[0]}
interpolation = "area"
"""

PERCENTILES = """method = "percentile"
low = 1.0
high = 99.0"""
# Leaves the phantoms of nets.py as they are.
MIN_MAX = 'method = "min_max"'

GRAPH = """
[[graphs]]
name = "{name}"
file = "{name}.onnx"
sha256 = "{sha256}"

[[graphs.inputs]]
spatial_shape = {size}
dtype = "float32"
{input}

[[graphs.heads]]
name = "{head}"
kind = "{kind}"
dtype = "float32"
{shape}
"""

PAIR = """name = "pair"
num_channels = 2
channel_def = ["fixed", "moving"]
modality = ["MR", "MR"]"""
FRAME = """name = "frame"
num_channels = 1
channel_def = ["image"]
modality = ["US"]"""

SHAPES = {
    "affine": "num_channels = 12",
    "displacement": """num_channels = 3
spatial_shape = {size}
channel_def = ["x", "y", "z"]
units = "voxels"
""",
    # A quarter of the input's size.
    "heatmaps": """num_channels = 4
spatial_shape = {small}
channel_def = ["a", "b", "c", "d"]
""",
}

# The first voxel is that of the grid's orientation, RAS, too.
DIRECTIONS = "TransformMatrix = -1 0 0 0 -1 0 0 0 1\n"
IMAGE = """NDims = {axes}
DimSize = {size}
{directions}ElementType = MET_FLOAT
ElementDataFile = LOCAL
"""


def session(model):
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def scaled(graph, output, pair, largest):
    """The model, its last layer scaled so that `pair` gives at most `largest`; and what it gives."""
    model = graph.finish(output)
    answer = session(model.SerializeToString()).run(None, {"pair": pair})[0]
    factor = np.float32(largest / np.abs(answer).max())
    last = [node for node in model.graph.node if node.op_type.startswith("Conv")][-1]
    for weight in model.graph.initializer:
        if weight.name in last.input:
            values = numpy_helper.to_array(weight) * factor
            weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    bytes = model.SerializeToString()
    return bytes, session(bytes).run(None, {"pair": pair})[0]


def golden(head, values):
    """A regular sample of an output, as the manifest's golden case keeps it."""
    values = values.ravel()
    stride = -(-values.size // GOLDEN_VALUES)
    return {head: {"len": values.size, "stride": stride, "values": values[::stride].tolist(),
                     "largest": float(np.abs(values).max())}}


def sha256(bytes):
    return hashlib.sha256(bytes).hexdigest()


def write(folder, graphs, outputs, size, normalize):
    """A package of graphs by name: (kind of head, bytes)."""
    volumes = len(size) == 3
    head = "flow" if volumes else "heatmaps"
    case = {"phantom_seed": GOLDEN_SEED, "engine": f"onnxruntime {onnxruntime.__version__}",
            "tolerance": 5e-4,
            "outputs": {name: golden(head, v) for name, v in outputs.items()}}
    case = json.dumps(case).encode()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "golden.json").write_bytes(case)
    manifest = HEAD.format(name=folder.name, golden=sha256(case), normalize=normalize,
                           task="registration" if volumes else "landmarks",
                           steps=GRID if volumes else RESIZE.format(size=size))
    for name, (kind, bytes) in graphs.items():
        (folder / f"{name}.onnx").write_bytes(bytes)
        shape = SHAPES[kind].format(size=list(size), small=[n // 4 for n in size])
        manifest += GRAPH.format(name=name, sha256=sha256(bytes), size=list(size), kind=kind,
                                 head=head, input=PAIR if volumes else FRAME, shape=shape)
    (folder / "package.toml").write_text(manifest)


def golden_input(binaries, folder, kind, size, normalize):
    """The golden case's input, and of volumes a pair as files in "phantoms", by a package's
    preprocessing alone."""
    before, phantoms = folder / "before", folder / "phantoms"
    phantoms.mkdir(parents=True, exist_ok=True)
    write(before, {"net": (kind, b"")}, {}, size, normalize)
    subprocess.run([binaries / "pipeline_server", before, "--phantoms", phantoms], check=True)
    channels = 2 if len(size) == 3 else 1
    return np.fromfile(phantoms / "golden.f32", np.float32).reshape(1, channels, *size)


def quantized(binaries, folder, calibrate, quantize=()):
    """From the package "f32" in a folder to "int8" beside it."""
    intraop, table = binaries / "intraop", folder / "table.json"
    model = ["--model", folder / "f32"]
    subprocess.run([intraop, "calibrate", *model, *calibrate, "--out", table], check=True)
    subprocess.run([intraop, "quantize", *model, "--calibration", table, *quantize,
                    "--out", folder / "int8"], check=True)


def network(binaries, source, target, inputs):
    """One network's int8 file, all layers of it in int8, by intraop's quantizer. What it gives
    passes for a displacement, or for heatmaps, whatever it is: nothing here depends on what it
    means."""
    size = inputs[0].shape[2:]
    volumes = len(size) == 3
    kind, columns = ("displacement", ["fixed", "moving"]) if volumes else ("heatmaps", ["image"])
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        values = golden_input(binaries, folder, kind, size, MIN_MAX)
        model = Path(source).read_bytes()
        runner = session(model)
        output = runner.run(None, {runner.get_inputs()[0].name: values})[0]
        write(folder / "f32", {"net": (kind, model)}, {"net": output}, size, MIN_MAX)
        header = IMAGE.format(axes=len(size), size=" ".join(map(str, size[::-1])),
                              directions=DIRECTIONS if volumes else "")
        # A truth, which calibrating does not ask for, belongs to cases of frames: left blank.
        truth = [] if volumes else ["a_x_px", "a_y_px"]
        rows = [",".join(columns + truth)]
        for number, images in enumerate(inputs):
            files = [f"{number}{column}.mha" for column in columns]
            for file, image in zip(files, images[0]):
                (folder / file).write_bytes(header.encode() + image.tobytes())
            rows.append(",".join(files + [""] * len(truth)))
        (folder / "cases.csv").write_text("\n".join(rows))
        # The errors of single layers choose which stay f32; none does here.
        quantized(binaries, folder, ["--cases", folder / "cases.csv", "--trials", "1"],
                 ["--error", "1e9"])
        shutil.copy(folder / "int8" / "net.onnx", target)


def prepare(binaries, folder):
    """Folders of "f32" and "int8", the packages of the registration, and of "phantoms", a pair as
    files."""
    folder = folder / "pipeline"
    paths = {kind: folder / kind for kind in ("f32", "int8", "phantoms")}
    if (paths["int8"] / "package.toml").exists():
        return paths
    print("pipeline: making the package", flush=True)
    pair = golden_input(binaries, folder, "displacement", SIZE, PERCENTILES)
    graphs, outputs = {}, {}
    for name, (build, kind, largest) in GRAPHS.items():
        bytes, outputs[name] = scaled(*build(SIZE), pair, largest)
        graphs[name] = (kind, bytes)
    write(paths["f32"], graphs, outputs, SIZE, PERCENTILES)
    quantized(binaries, folder, ["--phantoms", str(CALIBRATION_PHANTOMS)])
    return paths
