"""Packages that `intraop quantize` makes, as onnxruntime sees them: standard QDQ that it loads and
computes as this runtime does."""

import pathlib
import tomllib

import nibabel as nib
import numpy as np
import onnx
import onnxruntime
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "models" / "demo-f32"
TABLE = ROOT / "calibration" / "demo.json"


@pytest.fixture(scope="module")
def package(intraop, tmp_path_factory):
    out = tmp_path_factory.mktemp("quantized") / "small"
    intraop.output("quantize", "--model", MODEL, "--calibration", TABLE, "--out", out)
    return out


def graphs(package):
    manifest = tomllib.loads((package / "package.toml").read_text())
    return [onnx.load(package / graph["file"]) for graph in manifest["graphs"]]


def constants(graph):
    return {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}


def test_weights_and_activations_are_symmetric_int8(package):
    for model in graphs(package):
        onnx.checker.check_model(model, full_check=True)
        values = constants(model.graph)
        made = {node.output[0]: node for node in model.graph.node}
        layers = [n for n in model.graph.node if n.op_type in ("Conv", "ConvTranspose")]
        assert layers
        for layer in layers:
            x, w, b = (made[name] for name in layer.input)
            assert {x.op_type, w.op_type, b.op_type} == {"DequantizeLinear"}
            assert values[x.input[2]].dtype == np.int8 and values[x.input[2]] == 0
            codes, scales, zero = (values[name] for name in w.input)
            axis = 0 if layer.op_type == "Conv" else 1
            assert onnx.helper.get_node_attr_value(w, "axis") == axis
            assert codes.dtype == np.int8 and codes.min() >= -127 and not zero.any()
            assert scales.shape == (codes.shape[axis],)
            bias, bias_scales, _ = (values[name] for name in b.input)
            assert bias.dtype == np.int32
            np.testing.assert_array_equal(bias_scales, values[x.input[1]] * scales)


def test_what_a_concatenation_joins_has_one_scale(package):
    for model in graphs(package):
        made = {node.output[0]: node for node in model.graph.node}
        for concat in (n for n in model.graph.node if n.op_type == "Concat"):
            scales = {made[name].input[1] for name in concat.input}
            after = [n for n in model.graph.node if concat.output[0] in n.input]
            assert [n.op_type for n in after] == ["QuantizeLinear"]
            assert scales == {after[0].input[1]}


def test_activations_are_quantized_after_their_function(package):
    for model in graphs(package):
        made = {node.output[0]: node for node in model.graph.node}
        before = [made.get(n.input[0]) for n in model.graph.node if n.op_type == "QuantizeLinear"]
        kinds = {node.op_type if node else "input" for node in before}
        assert kinds <= {"input", "Relu", "LeakyRelu", "Concat"}
        outputs = {o.name for o in model.graph.output}
        assert not any(o in n.input for o in outputs for n in model.graph.node)


def test_onnxruntime_computes_the_same_registration(intraop, package, tmp_path):
    """The field of a copy with the displacement stage only, against onnxruntime on the input that
    the manifest describes."""
    rng = np.random.default_rng(3)
    images = []
    for name in ("fixed", "moving"):
        small = rng.random((8, 8, 8), np.float32)
        image = np.kron(small, np.ones((8, 8, 8), np.float32))
        low, high = np.percentile(image, [1, 99])
        images.append(np.clip((image - low) / (high - low), 0, 1))
        affine = np.diag([-1.0, -1.0, 1.0, 1.0])
        nib.save(nib.Nifti1Image(image.T, affine), tmp_path / f"{name}.nii")
    manifest = (package / "package.toml").read_text()
    start = manifest.index("[[graphs]]")
    second = manifest.index("[[graphs]]", start + 1)
    copy = tmp_path / "flow"
    copy.mkdir()
    for file in ("flow1.onnx", "golden.json"):
        (copy / file).write_bytes((package / file).read_bytes())
    (copy / "package.toml").write_text(manifest[:start] + manifest[second:])
    intraop.output(
        "register", tmp_path / "fixed.nii", tmp_path / "moving.nii", "--model", copy,
        "--field-convention", "voxelmorph", "--out", tmp_path / "out",
    )
    ours = nib.load(tmp_path / "out" / "field.nii.gz").get_fdata()
    pair = np.stack(images)[None].astype(np.float32)
    flow, exact = (
        onnxruntime.InferenceSession(str(path)).run(None, {"pair": pair})[0]
        for path in (package / "flow1.onnx", MODEL / "flow1.onnx")
    )
    theirs = flow[0].transpose(3, 2, 1, 0)
    rounding = np.sqrt(np.mean((flow - exact) ** 2))
    difference = np.sqrt(np.mean((np.squeeze(ours) - theirs) ** 2))
    # Engines round a few codes differently; that must be little beside what int8 itself changes.
    assert difference < 0.05 * rounding
    assert np.abs(np.squeeze(ours) - theirs).max() < 0.05 * np.abs(flow).max()
