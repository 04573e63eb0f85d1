"""ONNX's own backend test cases for the operators of our engine (PyPI's onnx carries them).

Each case is a model of one node with inputs and expected outputs. What a network holds as weights
the cases give as inputs, so all but the images become initializers first.
"""

import json
import os
import re
import subprocess

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

# Case names, and whether every node of theirs is to run on our engine.
OURS = re.compile(
    r"test_(basic_conv|conv_with|convtranspose|averagepool_2d|averagepool_3d|maxpool_2d|maxpool_3d"
    r"|globalaveragepool|relu|leakyrelu|concat_[123]d_axis_1|concat_2d|add|mul|instancenorm"
    r"|batchnorm|resize_upsample_scales_(nearest|linear)|quantizelinear|dequantizelinear|clip"
    r"|div|sub|flatten)"
)
# Of these no node may fall to tract (others may: another batch size, another factor).
SURELY_OURS = re.compile(
    r"test_(basic_conv|conv_with|convtranspose(_3d|_pads?|_group_2)?$|instancenorm_example"
    r"|(averagepool|maxpool)_[23]d_(default|pads|strides|same)|globalaveragepool)"
)
# Inputs that are images; all others are weights.
IMAGES = {"Add": 2, "Concat": 9, "Sub": 2, "Mul": 2, "Div": 2}

# Batch normalization in training has outputs that no inference needs.
CASES = [
    case
    for case in load_model_tests(kind="node")
    if OURS.match(case.name) and "training" not in case.name
]



@pytest.fixture(scope="session")
def server():
    path = os.environ.get("INTRAOP_SERVER")
    assert path, "set INTRAOP_SERVER to the program peer_server"
    return path


def prepare(case, folder):
    """The model with weights inside; its inputs and expected outputs."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    values, expected = case.data_sets[0]
    names = [i.name for i in model.graph.input]
    images = IMAGES.get(model.graph.node[0].op_type, 1)
    for name, value in list(zip(names, values))[images:]:
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    del model.graph.input[images:]
    onnx.save(model, folder / "model.onnx")
    return values[:images], expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_backend_case(server, case, tmp_path):
    values = [*case.data_sets[0][0][:1], *case.data_sets[0][1]]
    if not all(isinstance(v, np.ndarray) and v.dtype == np.float32 and v.ndim for v in values):
        pytest.skip("the engine's ends are f32 tensors")
    inputs, expected = prepare(case, tmp_path)
    np.concatenate([v.ravel() for v in inputs]).astype("<f4").tofile(tmp_path / "input")
    lines = f"run\noutput {tmp_path / 'output'}\nquit\n"
    for simd in ([], ["--simd", "scalar"]):
        command = [server, tmp_path / "model.onnx", tmp_path / "input", "--threads", "2", *simd]
        result = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stderr
        ready = json.loads(result.stdout.splitlines()[0].removeprefix("ready "))
        found = np.fromfile(tmp_path / "output", "<f4")
        wanted = np.concatenate([v.ravel() for v in expected])
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-5)
        assert ready["all_own"] or not SURELY_OURS.match(case.name)
