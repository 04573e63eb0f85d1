"""intraop's steps on frames, called from Python: benches/servers/src/bin/frame_server.rs."""

import json
import pathlib
import subprocess
import tempfile

import numpy as np

KINDS = {("u1", 1): "gray8", ("u2", 1): "gray16", ("f4", 1): "float", ("u1", 3): "rgb8",
         ("u1", 4): "rgba8", ("u2", 3): "rgb16", ("u2", 4): "rgba16"}


class Frames:
    def __init__(self, program):
        self.folder = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.levels = self.ask(np.zeros((1, 1), "u1"), [{"op": "gamma", "gamma": 1}])[1]["simd"]

    def ask(self, frame, steps, simd=None, repeat=0):
        """What the steps make of a frame (rows, columns, channels), and the server's answer."""
        channels = 1 if frame.ndim == 2 else frame.shape[2]
        files = [str(pathlib.Path(self.folder.name) / name) for name in ("in", "out")]
        np.ascontiguousarray(frame).tofile(files[0])
        request = {
            "steps": steps, "simd": simd, "kind": KINDS[frame.dtype.str[1:], channels],
            "width": frame.shape[1], "height": frame.shape[0], "input": files[0],
            "output": files[1], "repeat": repeat,
        }
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server ended on {request}")
        answer = json.loads(line)
        data = np.fromfile(files[1], {1: "u1", 2: "u2", 4: "f4"}[answer["bytes"]])
        return data.reshape(answer["height"], answer["width"]), answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.folder.cleanup()
