"""Times intraop's steps on frames and OpenCV's in turns, one thread each, and prints a table.

8 bits, 1024 by 768 (--image: a picture of one's own, brought to that size). Both compute into memory
that they have used before. Pixels are compared first: a difference is told, and ends the run.
"""

import argparse
import pathlib
import time
from statistics import median

import cv2
import numpy as np

from frames import Frames

SIZE = (1024, 768)


def picture(path):
    """Speckle in a fan on black, as ultrasound looks."""
    if path:
        return cv2.resize(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), SIZE)
    random = np.random.default_rng(4)
    y, x = np.mgrid[:SIZE[1], :SIZE[0]]
    r, angle = np.hypot(x - 512, y + 100), np.arctan2(x - 512, y + 100)
    speckle = cv2.GaussianBlur(random.rayleigh(60, r.shape), (0, 0), 1.5)
    inside = (np.abs(angle) < 0.6) & (r > 150) & (r < 850)
    return (np.clip(speckle * np.exp(-r / 900), 0, 255) * inside).astype("u1")


def cases(gray):
    """Name, frame, steps, the same in OpenCV, bytes that must be read and written, if the pixels
    must be the same, if OpenCV may use IPP."""
    rgb = np.stack([gray, gray[::-1], gray[:, ::-1]], -1).copy()
    rgba = np.concatenate([rgb, rgb[..., :1]], -1).copy()
    pixels = gray.size
    out, real = np.empty_like(gray), np.empty(gray.shape, "f4")
    step = [{"op": "grayscale"}]
    yield ("grayscale RGB", rgb, step, lambda: cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY, out),
           4 * pixels, True, True)
    yield ("grayscale RGBA", rgba, step, lambda: cv2.cvtColor(rgba, cv2.COLOR_RGBA2GRAY, out),
           5 * pixels, True, True)
    clahe = cv2.createCLAHE(2.0, (8, 8))
    yield ("CLAHE 8 × 8 tiles", gray, [{"op": "clahe", "clip_limit": 2.0, "tiles": [8, 8]}],
           lambda: clahe.apply(gray, out), 3 * pixels, True, True)
    flags = {"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA, "cubic": cv2.INTER_CUBIC}
    for width, height in [(256, 256), (512, 384), (340, 255), (800, 600), (1500, 1100)]:
        for name, flag in flags.items():
            to = np.empty((height, width), "u1")
            step = [{"op": "resize", "width": width, "height": height, "interpolation": name}]
            # Bilinear reads two rows for each of the result at most.
            read = pixels if name == "area" else min(pixels, 2 * height * gray.shape[1])
            for ipp in [False, True][:1 + (name == "cubic")]:
                yield (f"{name} to {width}×{height}" + (", IPP" if ipp else ""), gray, step,
                       lambda: cv2.resize(gray, (width, height), to, interpolation=flag),
                       read + to.size, not ipp, ipp)
    for sigma in (1.5, 3):
        yield (f"Gaussian σ {sigma}", gray, [{"op": "gaussian", "sigma_px": sigma}],
               lambda: cv2.GaussianBlur(gray, (0, 0), sigma, out), 2 * pixels, False, True)
    table = (255 * (np.arange(256) / 255) ** 0.8).round().astype("f4")
    yield ("gamma → f32", gray, [{"op": "gamma", "gamma": 0.8}],
           lambda: cv2.LUT(gray, table, real), 5 * pixels, True, True)
    yield ("min-max → f32", gray, [{"op": "normalize", "method": "min_max"}],
           lambda: cv2.normalize(gray, real, 0, 1, cv2.NORM_MINMAX, cv2.CV_32F),
           6 * pixels, False, True)
    yield ("crop to 700×500", gray,
           [{"op": "crop", "x": 100, "y": 100, "width": 700, "height": 500}],
           lambda: np.copyto(out[:500, :700], gray[100:600, 100:800]), 700_000, False, True)
    step = [{"op": "pad", "width": 1224, "height": 968}]
    larger = np.empty((968, 1224), "u1")
    yield ("pad to 1224×968", gray, step,
           lambda: cv2.copyMakeBorder(gray, 100, 100, 100, 100, cv2.BORDER_CONSTANT, larger),
           pixels + larger.size, True, True)

    small, scaled = np.empty((256, 256), "u1"), np.empty((256, 256), "f4")

    def all_of_it():
        cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY, out)
        clahe.apply(out, out)
        cv2.resize(out, (256, 256), small, interpolation=cv2.INTER_AREA)
        cv2.normalize(small, scaled, 0, 1, cv2.NORM_MINMAX, cv2.CV_32F)

    steps = [{"op": "grayscale"}, {"op": "clahe", "clip_limit": 2.0, "tiles": [8, 8]},
             {"op": "resize", "width": 256, "height": 256, "interpolation": "area"},
             {"op": "normalize", "method": "min_max"}]
    yield ("list: RGB → gray → CLAHE → area to 256×256 → min-max", rgb, steps, all_of_it,
           3 * pixels, False, True)


def timed(run):
    start = time.perf_counter_ns()
    run()
    return time.perf_counter_ns() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True, help="the program frame_server")
    parser.add_argument("--image", type=pathlib.Path)
    parser.add_argument("--simd", nargs="*", help="levels; avx2, avx512 or neon when absent")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", default="", help="cases with this in their name")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    frames = Frames(options.server)
    levels = options.simd or [
        level for level in frames.levels if level in ("avx2", "avx512", "neon")]
    gray = picture(options.image)
    copy = np.empty(gray.size * 4, "u1")
    source = np.ones_like(copy)
    bytes_per_ns = 2 * copy.size / median(timed(lambda: np.copyto(copy, source)) for _ in range(50))
    print(f"OpenCV {cv2.__version__}, one thread; copying 3 MB: {bytes_per_ns:.0f} GB/s read and "
          "written. The floor is what a step must read and write, at that speed.\n")
    print("| step | OpenCV µs | " + " | ".join(f"{level} µs (ratio)" for level in levels)
          + " | floor µs (share reached) |")
    print("|---|---:|" + "---:|" * (len(levels) + 1))
    for name, frame, steps, peer, moved, same, ipp in cases(gray):
        if options.only not in name:
            continue
        cv2.ipp.setUseIPP(ipp)
        expected = peer()
        theirs, ours = [], {level: [] for level in levels}
        for _ in range(options.rounds):
            theirs += [timed(peer) for _ in range(10)]
            for level in levels:
                found, answer = frames.ask(frame, steps, level, repeat=10)
                ours[level] += answer["ns"]
                if same and not np.array_equal(found, expected):
                    raise SystemExit(f"{name}, {level}: not OpenCV's pixels")
        them, us = median(theirs), {level: median(ns) for level, ns in ours.items()}
        floor, best = moved / bytes_per_ns, min(us.values())
        print(f"| {name} | {them / 1e3:.1f} | "
              + " | ".join(f"{v / 1e3:.1f} ({v / them:.2f})" for v in us.values())
              + f" | {floor / 1e3:.1f} ({floor / best:.0%}) |", flush=True)
    frames.close()


if __name__ == "__main__":
    main()
