"""A registration package of the size of the bars, 128 x 128 x 128: the light affine stage of LDR's
released code and three students of its text, in f32 and in int8.

Weights are random, as everywhere here. The last layers are scaled, so that the stages move the
image by a few voxels, less with every stage, as trained ones do.
"""

import hashlib
import json
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import numpy_helper

import models
import nets

SIZE = (128, 128, 128)
GOLDEN_SEED = 7  # pipeline.rs writes the pair of this phantom
GOLDEN_VALUES = 1000
CALIBRATION_PHANTOMS = 8


def affine(size):
    """The affine stage that LDR's authors released: W and b from the whole remaining map."""
    g = nets.Graph(size, slope=0.1)
    x = g.pair
    for channels in (16, 32, 64, 128):
        x = g.conv(x, channels, 3, 2, nets.SAME)
    x = g._add("AveragePool", [x.name], x.channels, [(n - 3) // 2 + 1 for n in x.size],
               kernel_shape=[3] * 3, strides=[2] * 3)
    x = g.conv(x, 12, x.size[0], pads=(0,) * 6, act=False)
    return g, g._add("Reshape", [x.name, g._constant([1, 12], np.int64)], 12, ())


def flow(size):
    """A student of LDR's text. Its last layer interpolates: no image moves by what random
    kernels make of neighbouring voxels."""
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
task = "registration"
description = "Random weights, to measure time and memory"
license = "CC0-1.0"
intended_use = "Benchmarks"
precision = "f32"
golden = {{ file = "golden.json", sha256 = "{golden}" }}

[grid]
spacing_mm = [1.0, 1.0, 1.0]
fit = "resample"
orientation = "RAS"
initial = "centres"

[[preprocess]]
op = "normalise"
method = "percentile"
low = 1.0
high = 99.0
"""

GRAPH = """
[[graphs]]
name = "{name}"
file = "{name}.onnx"
sha256 = "{sha256}"

[[graphs.inputs]]
name = "pair"
num_channels = 2
spatial_shape = {size}
dtype = "float32"
channel_def = ["fixed", "moving"]
modality = ["MR", "MR"]

[[graphs.heads]]
name = "flow"
kind = "{kind}"
dtype = "float32"
{shape}
"""

SHAPES = {
    "affine": "num_channels = 12",
    "displacement": """num_channels = 3
spatial_shape = {size}
channel_def = ["x", "y", "z"]
units = "voxels"
""",
}


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


def golden(values):
    """A regular sample of an output, as the manifest's golden case keeps it."""
    values = values.ravel()
    stride = -(-values.size // GOLDEN_VALUES)
    return {"flow": {"len": values.size, "stride": stride, "values": values[::stride].tolist(),
                     "largest": float(np.abs(values).max())}}


def sha256(bytes):
    return hashlib.sha256(bytes).hexdigest()


def write(folder, graphs, outputs):
    case = {"phantom_seed": GOLDEN_SEED, "engine": f"onnxruntime {onnxruntime.__version__}",
            "tolerance": 5e-4, "outputs": {name: golden(v) for name, v in outputs.items()}}
    case = json.dumps(case).encode()
    (folder / "golden.json").write_bytes(case)
    manifest = HEAD.format(name=folder.name, golden=sha256(case))
    for name, bytes in graphs.items():
        kind = GRAPHS[name][1]
        (folder / f"{name}.onnx").write_bytes(bytes)
        manifest += GRAPH.format(name=name, sha256=sha256(bytes), size=list(SIZE), kind=kind,
                                 shape=SHAPES[kind].format(size=list(SIZE)))
    (folder / "package.toml").write_text(manifest)


def prepare(binaries):
    """Folders of "f32" and "int8", the packages, and of "phantoms", a pair as files."""
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    folder = models.folder() / f"pipeline-{recipe}"
    paths = {kind: folder / kind for kind in ("f32", "int8", "phantoms")}
    if (paths["int8"] / "package.toml").exists():
        return paths
    print("pipeline: making the package", flush=True)
    for kind in ("f32", "phantoms"):
        paths[kind].mkdir(parents=True, exist_ok=True)

    # The golden pair comes from the phantoms of a package, which need only its grid.
    write(paths["f32"], {"flow1": b""}, {})
    subprocess.run([binaries / "pipeline_server", paths["f32"], "--phantoms", paths["phantoms"]],
                   check=True)
    pair = np.fromfile(paths["phantoms"] / "golden.f32", np.float32).reshape(1, 2, *SIZE)
    graphs, outputs = {}, {}
    for name, (network, _, largest) in GRAPHS.items():
        graphs[name], outputs[name] = scaled(*network(SIZE), pair, largest)
    write(paths["f32"], graphs, outputs)

    intraop = binaries.parent / "intraop"
    model, table = ["--model", paths["f32"]], folder / "table.json"
    subprocess.run([intraop, "calibrate", *model, "--phantoms", str(CALIBRATION_PHANTOMS),
                    "--out", table], check=True)
    subprocess.run([intraop, "quantize", *model, "--calibration", table, "--out", paths["int8"]],
                   check=True)
    return paths
