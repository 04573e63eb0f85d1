"""The binary under test and what the tests share."""

import json
import os
import pathlib
import subprocess

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
