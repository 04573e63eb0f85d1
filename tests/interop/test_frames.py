"""Steps on frames: grayscale, CLAHE and resize must give OpenCV's pixels, bit for bit and at every
SIMD level, with its own code: its IPP is closed, and differs from it for some resizes."""

import os
import pathlib
import sys

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "benches/frames"))
from frames import Frames  # noqa: E402

FLAGS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}


@pytest.fixture(scope="module")
def frames():
    path = os.environ.get("INTRAOP_FRAME_SERVER")
    assert path, "set INTRAOP_FRAME_SERVER to the program frame_server"
    cv2.setNumThreads(1)
    cv2.ipp.setUseIPP(False)
    served = Frames(os.path.abspath(path))
    yield served
    served.close()


def agree(frames, frame, step, expected):
    for level in frames.levels:
        found, _ = frames.ask(frame, [step], level)
        # OpenCV drops an axis of length 1.
        expected = np.asarray(expected).reshape(found.shape)
        differ = np.count_nonzero(found != expected)
        assert differ == 0, f"{step} of {frame.shape} {frame.dtype}, {level}: {differ} differ"


def noise(random, shape, dtype):
    if dtype == "f4":
        return (random.random(shape) * 300 - 50).astype("f4")
    most = 256 if dtype == "u1" else 65536
    # Also few and dark values, as in an ultrasound picture.
    return random.integers(0, random.choice([4, most // 4, most]), shape).astype(dtype)


def some_size(random):
    return [int(random.integers(1, random.choice([3, 24, 150]))) for _ in range(2)]


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("channels", [3, 4])
def test_grayscale(frames, dtype, channels):
    random = np.random.default_rng(1)
    flag = cv2.COLOR_RGB2GRAY if channels == 3 else cv2.COLOR_RGBA2GRAY
    for _ in range(25):
        frame = noise(random, (*some_size(random), channels), dtype)
        agree(frames, frame, {"op": "grayscale"}, cv2.cvtColor(frame, flag))


@pytest.mark.parametrize("dtype,count", [("u1", 60), ("u2", 8)])
def test_clahe(frames, dtype, count):
    random = np.random.default_rng(2)
    for _ in range(count):
        frame = noise(random, some_size(random), dtype)
        tiles = random.integers(1, 12, 2).tolist()
        limit = float(random.choice([0.3, 1, 2, 3.7, 40]))
        expected = cv2.createCLAHE(limit, tiles).apply(frame)
        agree(frames, frame, {"op": "clahe", "clip_limit": limit, "tiles": tiles}, expected)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("interpolation", FLAGS)
def test_resize(frames, dtype, interpolation):
    random = np.random.default_rng(3)
    for turn in range(60):
        height, width = some_size(random)
        to = some_size(random)[::-1]
        if turn % 3 == 0:  # whole ratios, which OpenCV computes otherwise
            ratio = random.integers(1, 8, 2) if turn % 2 else (2, 2)
            height, width = int(to[1] * ratio[0]), int(to[0] * ratio[1])
        frame = noise(random, (height, width), dtype)
        step = {"op": "resize", "width": to[0], "height": to[1], "interpolation": interpolation}
        agree(frames, frame, step, cv2.resize(frame, to, interpolation=FLAGS[interpolation]))


@pytest.mark.parametrize("interpolation", FLAGS)
def test_ratios_that_rounding_misses(frames, interpolation):
    """1 / (1 / 49) is not 49: OpenCV then shares pixels out."""
    frame = noise(np.random.default_rng(5), (98, 147), "u1")
    step = {"op": "resize", "width": 3, "height": 2, "interpolation": interpolation}
    agree(frames, frame, step, cv2.resize(frame, (3, 2), interpolation=FLAGS[interpolation]))


def test_8_bits_with_ipp(frames):
    """What the released wheel does by itself: the same but for bicubic, which differs by 1."""
    random = np.random.default_rng(6)
    cv2.ipp.setUseIPP(True)
    try:
        for _ in range(30):
            frame, to = noise(random, some_size(random), "u1"), some_size(random)[::-1]
            for interpolation, flag in FLAGS.items():
                step = {"op": "resize", "width": to[0], "height": to[1],
                        "interpolation": interpolation}
                found, _ = frames.ask(frame, [step])
                expected = cv2.resize(frame, to, interpolation=flag).reshape(found.shape)
                most = 1 if interpolation == "cubic" else 0
                assert np.abs(found.astype(int) - expected).max() <= most, step
    finally:
        cv2.ipp.setUseIPP(False)


def test_real_frames(frames, data):
    if data is None:
        pytest.skip("INTRAOP_DATA is not set")
    for folder in ["fetal_head/images", "fundus/images", "tongue_us/labeled-data"]:
        for path in sorted((data / folder).rglob("*.[pj][np]g"))[:3]:
            colors = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            gray = cv2.cvtColor(colors, cv2.COLOR_RGB2GRAY)
            agree(frames, colors, {"op": "grayscale"}, gray)
            clahe = {"op": "clahe", "clip_limit": 2.0, "tiles": [8, 8]}
            agree(frames, gray, clahe, cv2.createCLAHE(2.0, (8, 8)).apply(gray))
            for interpolation, flag in FLAGS.items():
                for to in [(256, 256), (1500, 1100)]:
                    step = {"op": "resize", "width": to[0], "height": to[1],
                            "interpolation": interpolation}
                    agree(frames, gray, step, cv2.resize(gray, to, interpolation=flag))


def test_gaussian_is_opencvs_within_its_rounding(frames):
    """OpenCV's weights for 8 bits are in steps of 1/256: compared with f32, and the border as
    here."""
    frame = noise(np.random.default_rng(7), (90, 130), "f4")
    found, _ = frames.ask(frame, [{"op": "gaussian", "sigma_px": 1.5}])
    expected = cv2.GaussianBlur(frame, (11, 11), 1.5, borderType=cv2.BORDER_REPLICATE)
    assert np.abs(found - expected).max() < 1e-4


def test_percentiles_are_numpys(frames):
    for dtype in ("u1", "u2", "f4"):
        frame = noise(np.random.default_rng(8), (75, 63), dtype)
        step = {"op": "normalize", "method": "percentile", "low": 3, "high": 96.5}
        found, _ = frames.ask(frame, [step])
        low, high = np.percentile(frame.astype("f8"), [3, 96.5])
        expected = np.clip((frame.astype("f8") - low) / (high - low), 0, 1)
        assert np.abs(found - expected).max() < 1e-6
