"""The binary under test and what the tests share."""

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest


class Binary:
    def __init__(self, path):
        self.path = path

    def run(self, *arguments):
        command = [self.path, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    def output(self, *arguments):
        """Standard output of a run that must succeed."""
        result = self.run(*arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def json(self, *arguments):
        return json.loads(self.output(*arguments, "--json"))


@pytest.fixture(scope="session")
def intraop():
    path = os.environ.get("INTRAOP_BIN")
    assert path, "set INTRAOP_BIN to the binary under test"
    return Binary(os.path.abspath(path))


@pytest.fixture(scope="session")
def data():
    """The folder of real images, or None."""
    folder = os.environ.get("INTRAOP_DATA")
    return pathlib.Path(folder) if folder and os.path.isdir(folder) else None


@pytest.fixture(scope="session")
def read():
    program = os.environ.get("INTRAOP_FRAME_READER")
    assert program, "set INTRAOP_FRAME_READER to the program frame_reader"
    program = os.path.abspath(program)

    def read(path):
        """The frames of a file, each with its pixel size."""
        out = f"{path}.samples"
        run = subprocess.run([program, path, out], capture_output=True, text=True, timeout=60)
        assert run.returncode == 0, run.stderr
        samples, frames = open(out, "rb").read(), []
        for facts in map(json.loads, run.stdout.splitlines()):
            dtype, shape = np.dtype(facts["dtype"]), facts["shape"]
            count = int(np.prod(shape)) * dtype.itemsize
            frame = np.frombuffer(samples[:count], dtype).reshape(shape)
            frames.append((frame[..., 0] if shape[2] == 1 else frame, facts["spacing"]))
            samples = samples[count:]
        assert not samples
        return frames

    return read
