"""Packages that `intraop models import` makes of networks that nobody here wrote, against
onnxruntime on the files as they came: what our engine computes from the package's graph must be
what onnxruntime computes from the original, but for the units and ranges that were asked for.

The networks are those that onnx itself is tested with (their weights are constants, so that their
structure counts), one written as PyTorch's exporter does for any size, and, in the folder
FOREIGN, what foreign/export.py exported (by hand: PyTorch is too large for every run)."""

import json
import os
import pathlib
import pty
import subprocess

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_onnx import server  # noqa: F401  (a fixture)

LIGHT = pathlib.Path(onnx.__file__).parent / "backend/test/data/light"
TERMS = ["--license", "MIT", "--intended-use", "tests"]
FRAMES = [*TERMS, "--modality", "US", "--fit", "stretch", "--normalize", "window:0,255"]
VOLUMES = [*TERMS, "--modality", "MR", "--fit", "stretch", "--normalize", "min_max",
           "--orientation", "RAS", "--initial", "header"]
MEAN, SD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
IMAGENET = ["--mean", ",".join(map(str, MEAN)), "--sd", ",".join(map(str, SD))]


def computed(server, package, x, shapes):
    """What our engine makes of the package's graph."""
    x.astype("<f4").tofile(package / "input")
    result = subprocess.run(
        [server, package / "model.onnx", package / "input", "--threads", "2"],
        input=f"run\noutput {package / 'output'}\nquit\n", capture_output=True, text=True,
        timeout=120)
    assert result.returncode == 0, result.stderr
    values = np.fromfile(package / "output", "<f4")
    sizes = np.cumsum([np.prod(s) for s in shapes])
    assert sizes[-1] == values.size
    return [v.reshape(s) for v, s in zip(np.split(values, sizes[:-1]), shapes)]


def original(path, **inputs):
    session = ort.InferenceSession(path)
    return session.run(None, {name: x.astype(np.float32) for name, x in inputs.items()})


def near(found, expected, tolerance=1e-4):
    assert np.isfinite(found).all()
    assert np.abs(found - expected).max() <= tolerance * max(np.abs(expected).max(), 1e-6)


def colors(gray):
    """What the network saw in training of a gray frame from 0 to 1."""
    mean, sd = (np.reshape(v, (1, 3, 1, 1)) for v in (MEAN, SD))
    return (gray - mean) / sd


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


@pytest.mark.parametrize("name", sorted(p.stem for p in LIGHT.glob("light_*.onnx")))
def test_networks_for_imagenet_become_packages(intraop, server, tmp_path, name):
    path = LIGHT / f"{name}.onnx"
    said = intraop.json("models", "import", path)
    nodes = onnx.load(path).graph.node
    assert sum(said["operators"].values()) == len(nodes)
    assert said["problem"] is None
    assert [q["flag"] for q in said["missing"]] == [
        "--modality", "--names", "--normalize", "--fit", "--license", "--intended-use"]
    # The convolutions, that is most of the work, are ours, with one that makes three colors of gray.
    assert said["plan"]["of"] == "package"
    assert said["plan"]["intraop"]["Conv"] == 1 + sum(n.op_type == "Conv" for n in nodes)
    (tmp_path / "names").write_text("\n".join(f"class {i}" for i in range(1000)))
    package = tmp_path / name
    intraop.output("models", "import", path, "--out", package, *FRAMES, *IMAGENET,
                   "--names", f"@{tmp_path / 'names'}")
    intraop.output("models", "verify", package)
    gray = np.random.default_rng(1).random((1, 1, 224, 224))
    (found,) = computed(server, package, gray, [(1, 1000)])
    # Old files name weights as inputs, too.
    (image,) = ort.InferenceSession(path).get_inputs()
    (expected,) = original(path, **{image.name: colors(gray)})
    if nodes[-1].op_type == "Softmax":
        found = softmax(found)
    near(found, expected.reshape(1, 1000))


def exported():
    """A network as PyTorch's exporter writes it for frames of any size."""
    rng = np.random.default_rng(4)
    nodes, weights = [], []

    def add(op, *inputs, **attributes):
        name = f"/{op.lower()}/{op}_{len(nodes)}"
        nodes.append(helper.make_node(op, inputs, [f"{name}_output_0"], name=name, **attributes))
        return f"{name}_output_0"

    def constant(values):
        return add("Constant", value=numpy_helper.from_array(np.asarray(values)))

    def conv(x, inputs, outputs, kernel=3, stride=1):
        w = rng.normal(size=(outputs, inputs, kernel, kernel)) / np.sqrt(inputs * kernel**2)
        for values, what in ((w, "weight"), (rng.normal(size=outputs), "bias")):
            weights.append(numpy_helper.from_array(
                values.astype(np.float32), f"conv{len(nodes)}.{what}"))
        pads = [kernel // 2] * 4
        return add("Conv", x, weights[-2].name, weights[-1].name, kernel_shape=[kernel] * 2,
                   strides=[stride] * 2, pads=pads, dilations=[1, 1], group=1)

    def size(x, axis):
        side = add("Gather", add("Shape", x), constant(np.int64(axis)), axis=0)
        return add("Unsqueeze", side, constant(np.int64([0])))

    one = add("Relu", conv("image", 1, 8))
    two = add("Relu", conv(one, 8, 16, stride=2))
    sides = add("Concat", size(one, 2), size(one, 3), axis=0)
    channels = add("Slice", add("Shape", two), constant(np.int64([0])), constant(np.int64([2])),
                   constant(np.int64([0])))
    sizes = add("Concat", channels, add("Cast", sides, to=TensorProto.INT64), axis=0)
    up = add("Resize", two, "", "", sizes, mode="linear",
             coordinate_transformation_mode="pytorch_half_pixel", cubic_coeff_a=-0.75)
    # Padding by nothing, as computed by a network that pads to the size of a skip.
    rest = add("Sub", size(one, 3), size(up, 3))
    half = add("Div", rest, constant(np.int64([2])))
    zero = add("ConstantOfShape", constant(np.int64([2])),
               value=numpy_helper.from_array(np.zeros(1, np.int64)))
    up = add("Pad", up, add("Concat", zero, half, half, zero, half, half, axis=0), mode="constant")
    merged = add("Concat", one, up, axis=1)
    nodes.append(helper.make_node("Sigmoid", [conv(merged, 24, 1, 1)], ["mask"], name="/Sigmoid"))
    value = lambda name: helper.make_tensor_value_info(
        name, TensorProto.FLOAT, ["batch", 1, "height", "width"])
    graph = helper.make_graph(nodes, "main_graph", [value("image")], [value("mask")], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_sizes_that_are_computed_become_constants(intraop, server, tmp_path):
    path = tmp_path / "exported.onnx"
    onnx.save(exported(), path)
    assert intraop.json("models", "import", path)["missing"][0]["flag"] == "--input-shape"
    package = tmp_path / "package"
    size = ["--input-shape", "1,1,48,64"]
    intraop.output("models", "import", path, "--out", package, *FRAMES, *size, "--names", "skull")
    kinds = {n.op_type for n in onnx.load(package / "model.onnx").graph.node}
    assert kinds == {"Conv", "Relu", "Resize", "Concat"}
    onnx.checker.check_model(str(package / "model.onnx"), full_check=True)
    plan = json.loads(intraop.output("models", "show", package, "--plan", "--json"))
    assert {step["engine"] for step in plan["model"]} == {"intraop"}
    x = np.random.default_rng(2).random((1, 1, 48, 64))
    (found,) = computed(server, package, x, [(1, 1, 48, 64)])
    near(1 / (1 + np.exp(-found)), original(path, image=x)[0])


def test_a_person_is_asked(intraop, tmp_path):
    """In a terminal; a wrong answer is asked again."""
    path = tmp_path / "exported.onnx"
    onnx.save(exported(), path)
    answers = ["image=1,1,48,64", "US", "skull,other", "skull", "window:0", "window:0,255", "pad",
               "", "MIT", "tests"]
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [intraop.path, "models", "import", str(path), "--out", str(tmp_path / "package")],
        stdin=terminal, stdout=subprocess.PIPE, stderr=terminal)
    os.close(terminal)
    os.write(controller, "".join(f"{a}\n" for a in answers).encode())
    process.communicate(timeout=60)
    said = b""
    try:
        while part := os.read(controller, 4096):
            said += part
    except OSError:
        pass  # the other end is closed
    said = said.decode()
    assert process.returncode == 0, said
    assert "window:0\": expected" in said and "--fit 'pad'" in said
    assert "expected 1 names for" in said and "a value is required for '--license" in said
    intraop.output("models", "verify", tmp_path / "package")


FOREIGN = pathlib.Path(os.environ.get("FOREIGN", "/nowhere"))
FRAME, COLORS = ["--input-shape", "1,1,96,128"], ["--input-shape", "1,3,96,128", *IMAGENET]


def check_voxelmorph(run, path):
    volumes = [np.random.default_rng(s).random((1, 1, 32, 32, 32)) for s in (0, 1)]
    (flow,) = run([*VOLUMES, "--axes", "z,y,x", "--units", "voxels"],
                  np.concatenate(volumes, 1), [(1, 3, 32, 32, 32)])
    # By its names, the target is fixed and comes first in the package.
    near(flow, original(path, source=volumes[1], target=volumes[0])[-1])


def check_theta(run, path):
    pair = np.random.default_rng(0).random((1, 2, 32, 32, 32))
    options = [*VOLUMES, "--affine", "theta-corners", "--order", "fixed,moving"]
    (found,) = run(options, pair, [(1, 12)])
    (theta,) = original(path, pair=pair)
    # A cube: half sizes cancel in the matrix.
    matrix = theta[0, :, :3] - np.eye(3)
    near(found[0], np.concatenate([matrix.ravel(), 15.5 * theta[0, :, 3]]))


def check_simple_baseline(run, path):
    gray = np.random.default_rng(0).random((1, 1, 96, 128))
    options = [*FRAMES, *COLORS, "--names", "a,b,c,d", "--values", "probabilities"]
    (maps,) = run(options, gray, [(1, 4, 24, 32)])
    near(maps, original(path, input=colors(gray))[0])


def check_unet(run, path):
    x = np.random.default_rng(0).random((1, 1, 96, 128))
    (logits,) = run([*FRAMES, *FRAME, "--names", "skull"], x, [(1, 1, 96, 128)])
    near(1 / (1 + np.exp(-logits)), original(path, image=x)[0])


def check_fpn(run, path):
    x = np.random.default_rng(0).random((1, 1, 96, 128))
    (maps,) = run([*FRAMES, *FRAME, "--names", "a,b,c"], x, [(1, 3, 48, 64)])
    half = "half" in path.name
    session = ort.InferenceSession(path)
    (expected,) = session.run(None, {"image": x.astype(np.float16 if half else np.float32)})
    near(maps, expected.astype(np.float32), 5e-3 if half else 1e-4)


def check_regressor(run, path):
    gray = np.random.default_rng(0).random((1, 1, 96, 128))
    options = [*FRAMES, *COLORS, "--names", "a,b,c,d,e", "--axes", "x,y", "--units", "unit"]
    (points,) = run(options, gray, [(1, 10)])
    near(points.reshape(5, 2), original(path, x=colors(gray))[0][0] * [128, 96])


def check_views(run, path):
    gray = np.random.default_rng(0).random((1, 1, 96, 128))
    (logits,) = run([*FRAMES, *IMAGENET, "--names", "a,b,c,d"], gray, [(1, 4)])
    near(softmax(logits), original(path, x=colors(gray))[0])


@pytest.mark.skipif(not FOREIGN.is_dir(), reason="FOREIGN: no folder of foreign/export.py")
@pytest.mark.parametrize("name", sorted(p.stem for p in FOREIGN.glob("*.onnx")))
def test_exported_by_pytorch(intraop, server, tmp_path, name):
    path, package = FOREIGN / f"{name}.onnx", tmp_path / name

    def run(options, x, shapes):
        intraop.output("models", "import", path, "--out", package, *options)
        intraop.output("models", "verify", package)
        onnx.checker.check_model(str(package / "model.onnx"), full_check=True)
        return computed(server, package, x, shapes)

    network = name.rsplit("_", 1)[0].removesuffix("_integrated")
    globals()[f"check_{network}"](run, path)
