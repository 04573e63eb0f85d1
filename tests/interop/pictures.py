"""Pictures and comparisons that the tests of frames share."""

import cv2
import numpy as np

# The decoders' inverse cosine transforms and their interpolation of colors round differently.
JPEG_GRAY, JPEG_COLOR = 2, 6


def scene(height=41, width=54, seed=0):
    """Smooth, so that lossy coding keeps it, with a corner that no flip leaves in place."""
    y, x = np.mgrid[:height, :width]
    gray = (np.sin(x / 7 + seed) + np.cos(y / 9) + 2) * 60
    gray[: height // 4, : width // 3] = 220
    return cv2.GaussianBlur(gray, (0, 0), 1.5).astype("u1")


def colors(**size):
    gray = scene(**size)
    return np.stack([gray, gray[::-1], 255 - gray], -1)


def only(frames):
    [(frame, spacing)] = frames
    return frame, spacing


def same(found, expected, within=0):
    assert found.dtype == expected.dtype and found.shape == expected.shape
    assert np.abs(found.astype("f8") - expected.astype("f8")).max() <= within


def agree(read, path, expected, within=0):
    frames = read(path)
    assert len(frames) == len(expected)
    for (found, _), frame in zip(frames, expected):
        same(found, frame, within)
