"""The shipped packages as others see them: valid ONNX that onnxruntime loads, files as hashed."""

import hashlib
import json
import pathlib
import tomllib

import numpy as np
import onnx
import onnxruntime
import pytest

MODELS = pathlib.Path(__file__).resolve().parents[2] / "models"


@pytest.fixture(params=sorted(p.parent.name for p in MODELS.glob("*/package.toml")))
def package(request):
    folder = MODELS / request.param
    return folder, tomllib.loads((folder / "package.toml").read_text())


def test_graphs_are_valid_onnx_of_the_stated_shapes(package):
    folder, manifest = package
    for graph in manifest["graphs"]:
        path = folder / graph["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == graph["sha256"]
        onnx.checker.check_model(str(path), full_check=True)
        session = onnxruntime.InferenceSession(str(path))
        (stated,) = graph["inputs"]
        shape = [1, stated["num_channels"], *stated["spatial_shape"]]
        assert [(i.name, i.shape) for i in session.get_inputs()] == [(stated["name"], shape)]
        outputs = session.run(None, {stated["name"]: np.zeros(shape, np.float32)})
        for head, output in zip(graph["heads"], outputs, strict=True):
            assert output.shape == (1, head["num_channels"], *head.get("spatial_shape", []))
            assert np.isfinite(output).all()


def test_the_golden_case_names_another_engine(package):
    folder, manifest = package
    golden = json.loads((folder / manifest["golden"]["file"]).read_text())
    assert "libtorch" in golden["engine"] or "onnxruntime" in golden["engine"]
    assert set(golden["outputs"]) == {g["name"] for g in manifest["graphs"]}
