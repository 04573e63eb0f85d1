"""The files of a network: f32, its int8 versions, an input and the output expected for it.

int8 comes from each peer's own quantizer with the same calibration inputs. Files are kept in a
folder named by what makes them, so that none outlives its recipe.
"""

import hashlib
import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static)

import nets
import package

HERE = Path(__file__).parent
CALIBRATION_SEEDS = range(1, 9)
INPUT_SEED = 0
# A few roundings of f32: what two right engines may differ by before they round to codes.
NUDGE = 1e-6
# What onnxruntime quantizes; instance norm has no int8 version in either engine.
OPERATORS = ["Conv", "ConvTranspose", "Concat", "Resize", "Relu", "LeakyRelu", "Clip", "Add",
             "MaxPool"]


class Reader(CalibrationDataReader):
    def __init__(self, source, inputs):
        self.name = onnx.load(source).graph.input[0].name
        self.inputs = iter(inputs)

    def get_next(self):
        values = next(self.inputs, None)
        return None if values is None else {self.name: values}


def qdq(source, target, inputs, signed):
    """Standard QDQ by onnxruntime, weights per channel. Signed activations are symmetric."""
    logging.getLogger().setLevel(logging.ERROR)  # It advises shape inference; ours are known.
    quantize_static(
        source, target, Reader(source, inputs), quant_format=QuantFormat.QDQ, per_channel=True,
        op_types_to_quantize=OPERATORS, calibrate_method=CalibrationMethod.MinMax,
        activation_type=QuantType.QInt8 if signed else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": signed, "WeightSymmetric": True})


def nncf_int8(source, target, inputs):
    """OpenVINO's own quantizer with its preset for speed."""
    import nncf
    import openvino

    model = openvino.Core().read_model(source)
    model = nncf.quantize(model, nncf.Dataset(inputs), preset=nncf.QuantizationPreset.PERFORMANCE,
                          subset_size=len(inputs))
    openvino.save_model(model, target, compress_to_fp16=False)


def digest(*files):
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def folder():
    recipe = ("nets.py", "models.py", "requirements.txt")
    return HERE / ".models" / digest(*(HERE / name for name in recipe))


def own_folder():
    """Of what intraop's quantizer makes: it changes more often than the peers' do."""
    quantizer = sorted((HERE / "../../src/quantize").glob("*.rs"))
    return folder() / f"intraop-{digest(HERE / 'package.py', *quantizer)}"


def prepare(name, kinds, binaries):
    """Paths of the wanted kinds ("f32", "own", "s8", "u8", "nncf"), of "input", of what onnxruntime
    computes for it, "reference" (f32) and "own-reference" (from intraop's int8 file), and of
    "own-nudged", the latter for an input that is a millionth larger."""
    own_folder().mkdir(parents=True, exist_ok=True)
    endings = {"f32": "onnx", "s8": "s8.onnx", "u8": "u8.onnx", "nncf": "nncf.xml",
               "input": "input.f32", "reference": "reference.f32"}
    own = {"own": "onnx", "own-reference": "reference.f32", "own-nudged": "nudged.f32"}
    paths = {kind: str(folder() / f"{name}.{ending}") for kind, ending in endings.items()}
    paths |= {kind: str(own_folder() / f"{name}.{ending}") for kind, ending in own.items()}
    size = nets.NETS[name][1]

    if not Path(paths["reference"]).exists():
        onnx.save(nets.build(name)[0], paths["f32"])
        nets.phantom(size, INPUT_SEED).tofile(paths["input"])
        answer(paths["f32"], paths["input"], paths["reference"])

    quantizers = {
        "own": lambda *files: package.network(binaries, *files),
        "s8": lambda *files: qdq(*files, signed=True),
        "u8": lambda *files: qdq(*files, signed=False),
        "nncf": nncf_int8,
    }
    missing = [kind for kind in quantizers if kind in kinds and not Path(paths[kind]).exists()]
    if missing:
        inputs = [nets.phantom(size, seed) for seed in CALIBRATION_SEEDS]
    for kind in missing:
        print(f"{name}: quantizing ({kind})", flush=True)
        quantizers[kind](paths["f32"], paths[kind], inputs)
    if "own" in missing:
        answer(paths["own"], paths["input"], paths["own-reference"])
        answer(paths["own"], paths["input"], paths["own-nudged"], 1 + NUDGE)
    return paths


def answer(model, source, target, factor=1):
    """Writes what onnxruntime computes for an input times a factor."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (first,) = session.get_inputs()
    values = np.fromfile(source, np.float32).reshape(first.shape)
    session.run(None, {first.name: values * np.float32(factor)})[0].tofile(target)


def difference(output, reference):
    """Root mean square of the difference, as a share of the reference's."""
    a, b = np.fromfile(output, np.float32), np.fromfile(reference, np.float32)
    return float(np.sqrt(np.mean((a - b) ** 2) / np.mean(b**2)))
