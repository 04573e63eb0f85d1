"""One frame end to end, decoded from its file before: intraop against OpenCV's preprocessing and
onnxruntime, one thread each, in turns. Prints a table.

intraop finds the landmarks to parts of pixels, the mask's ellipse and the measurements with their
uncertainty. The others run the manifest's list by OpenCV and the same network by onnxruntime, in
f32 and as onnxruntime's own quantizer makes it; the highest pixel of every heatmap and
cv2.fitEllipse of the mask's largest outline stand for what is found, and are timed apart.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile
import time
import tomllib
from statistics import median

import cv2
import numpy as np
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader, QuantFormat, QuantType, quantize_static)

HERE = pathlib.Path(__file__).parent
CALIBRATION = 32


def prepare(steps, frame):
    """The manifest's list; a frame (rows, columns[, channels]) becomes [1, 1, rows, columns]."""
    for step in steps:
        match step["op"]:
            case "grayscale":
                frame = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) if frame.ndim == 3 else frame
            case "resize":
                height, width = frame.shape
                share = min(step["width"] / width, step["height"] / height)
                size = max(1, round(width * share)), max(1, round(height * share))
                flag = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR}[step["interpolation"]]
                frame = cv2.resize(frame, size, interpolation=flag)
            case "pad":
                down, right = step["height"] - frame.shape[0], step["width"] - frame.shape[1]
                frame = cv2.copyMakeBorder(frame, down // 2, down - down // 2, right // 2,
                                           right - right // 2, cv2.BORDER_CONSTANT)
            case "normalize":
                counts = cv2.calcHist([frame], [0], None, [256], [0, 256]).ravel().cumsum()
                low, high = (np.searchsorted(counts, step[key] / 100 * counts[-1])
                             for key in ("low", "high"))
                scale = 1 / max(1, high - low)
                table = np.clip((np.arange(256) - low) * scale, 0, 1).astype("f4")
                frame = cv2.LUT(frame, table)
            case other:
                raise SystemExit(f"no OpenCV for {other}: add it here")
    return frame[None, None]


def find(heatmaps, mask):
    """The highest pixels, and the ellipse of the largest outline."""
    peaks = [divmod(int(m.argmax()), m.shape[1]) for m in heatmaps[0]]
    outlines, _ = cv2.findContours((mask[0, 0] > 0).astype("u1"), cv2.RETR_EXTERNAL,
                                   cv2.CHAIN_APPROX_NONE)
    largest = max(outlines, key=cv2.contourArea, default=None)
    return peaks, None if largest is None or len(largest) < 5 else cv2.fitEllipse(largest)


class Reader(CalibrationDataReader):
    def __init__(self, inputs):
        self.inputs = iter(inputs)

    def get_next(self):
        return next(({"image": i} for i in self.inputs), None)


def quantized(model, inputs, target, signed):
    """onnxruntime's own int8, weights per channel."""
    quantize_static(model, target, Reader(inputs), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QInt8 if signed else QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    extra_options={"ActivationSymmetric": signed, "WeightSymmetric": True})
    return target


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class Own:
    def __init__(self, server, model):
        self.process = subprocess.Popen([server, str(model), "1"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def ask(self, image):
        self.process.stdin.write(f"{image}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True, help="the program landmark_server")
    parser.add_argument("--f32", type=pathlib.Path, default=HERE / "../../models/fetal-head-f32")
    parser.add_argument("--int8", type=pathlib.Path, default=HERE / "../../models/fetal-head")
    parser.add_argument("--images", type=pathlib.Path, required=True, help="folder of frames")
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    cv2.setNumThreads(1)

    manifest = tomllib.loads((options.f32 / "package.toml").read_text())
    steps, graph = manifest["preprocess"], str(options.f32 / manifest["graphs"][0]["file"])
    files = sorted(options.images.iterdir())
    files, others = files[:options.frames], files[options.frames:][:CALIBRATION]
    frames = [cv2.imread(str(f), cv2.IMREAD_UNCHANGED) for f in files]
    inputs = [prepare(steps, cv2.imread(str(f), cv2.IMREAD_UNCHANGED)) for f in others]
    with tempfile.TemporaryDirectory() as folder:
        peers = {"f32": session(graph)}
        for name, signed in (("int8, signed", True), ("int8, unsigned", False)):
            target = f"{folder}/{name}.onnx"
            peers[name] = session(quantized(graph, inputs, target, signed))
    own = {"int8": Own(options.server, options.int8), "f32": Own(options.server, options.f32)}

    times = {}

    def note(engine, parts):
        times.setdefault(engine, []).append(parts)

    for _ in range(options.rounds):
        for file, frame in zip(files, frames):
            for name, server in own.items():
                answer = server.ask(file)
                note(f"intraop {name}", [*answer["stages"], answer["ns"]])
            for name, network in peers.items():
                moments = [time.perf_counter_ns()]
                image = prepare(steps, frame)
                moments.append(time.perf_counter_ns())
                heads = network.run(["heatmaps", "mask"], {"image": image})
                moments.append(time.perf_counter_ns())
                find(*heads)
                moments.append(time.perf_counter_ns())
                note(f"OpenCV + onnxruntime {name}",
                     [b - a for a, b in zip(moments, moments[1:])] + [moments[-1] - moments[0]])

    print("Medians in ms, one thread. The ratio is of intraop int8, with all that it finds, to the "
          "others without finding anything.\n")
    print("| | preprocess | network | find | all | ratio |\n|---|---:|---:|---:|---:|---:|")
    whole = median(parts[-1] for parts in times["intraop int8"])
    for engine, rows in times.items():
        ms = [median(column) / 1e6 for column in zip(*rows)]
        without = median(p + n for p, n, *_ in rows)
        ratio = f"{whole / without:.2f}" if "OpenCV" in engine else ""
        print(f"| {engine} | " + " | ".join(f"{v:.2f}" for v in ms) + f" | {ratio} |")


if __name__ == "__main__":
    main()
