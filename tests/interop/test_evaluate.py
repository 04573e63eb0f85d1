"""Every figure of `evaluate` on frames, computed once more by numpy, scipy, scikit-learn and
SimpleITK from the frames and the CSV alone. The package's answers are known: each landmark is the
pixel of a certain gray, the mask is what is brighter than half, the view is the brighter half."""

import csv
import hashlib
import json

import cv2
import numpy as np
import onnx
import pytest
import SimpleITK as sitk
from onnx import TensorProto, helper, numpy_helper
from scipy.spatial.distance import cdist
from sklearn.metrics import accuracy_score, auc, confusion_matrix

WIDTH, HEIGHT = 96, 72
GRAYS = {"a": 32, "b": 56, "c": 80, "d": 104}
VIEWS = ["bright", "dark"]


def network():
    nodes, weights = [], []

    def conv(source, name, weight, bias):
        for part, values in (("w", np.array(weight)[..., None, None]), ("b", np.array(bias))):
            weights.append(numpy_helper.from_array(values.astype("f4"), f"{name}.{part}"))
        nodes.append(helper.make_node("Conv", [source, f"{name}.w", f"{name}.b"], [name], name))

    steep = 255 / 8
    levels = [gray / 8 for gray in GRAYS.values()]
    conv("image", "sides", [[steep], [-steep]] * 4, [v for l in levels for v in (-l, l)])
    nodes.append(helper.make_node("Relu", ["sides"], ["cut"], "cut"))
    conv("cut", "heatmaps", -np.repeat(np.eye(4), 2, axis=1), np.ones(4))
    conv("image", "mask", [[40]], [-20])
    conv("image", "shades", [[100], [0]], [0, 10])
    nodes.append(helper.make_node("GlobalAveragePool", ["shades"], ["shade"], "shade"))
    nodes.append(helper.make_node("Flatten", ["shade"], ["view"], "view"))
    tensor = lambda name, *shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    outputs = [
        tensor("heatmaps", 1, 4, HEIGHT, WIDTH),
        tensor("mask", 1, 1, HEIGHT, WIDTH),
        tensor("view", 1, 2),
    ]
    graph = helper.make_graph(nodes, "g", [tensor("image", 1, 1, HEIGHT, WIDTH)], outputs, weights)
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def head(name, kind, channels, shape=None):
    places = f"spatial_shape = {shape}\n" if shape else ""
    return (
        f'[[graphs.heads]]\nname = "{name}"\nkind = "{kind}"\nnum_channels = {len(channels)}\n'
        f'{places}dtype = "float32"\nchannel_def = {json.dumps(channels)}\n'
    )


def write_package(folder):
    folder.mkdir()
    # What the network answers is known here; its golden case only has to be there.
    shapes = {"heatmaps": 4 * HEIGHT * WIDTH, "mask": HEIGHT * WIDTH, "view": 2}
    loose = {
        name: {"len": size, "stride": size, "values": [0.0], "largest": 1e9}
        for name, size in shapes.items()
    }
    case = {"phantom_seed": 1, "engine": "none", "tolerance": 0.1, "outputs": {"g": loose}}
    files = {"g.onnx": network(), "golden.json": json.dumps(case).encode()}
    sha = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    shape = [HEIGHT, WIDTH]
    files["package.toml"] = (
        'schema = 1\nname = "dots"\nversion = "1"\ntask = "landmarks"\ndescription = ""\n'
        'license = "MIT"\nintended_use = ""\nprecision = "f32"\npreprocess = [\n'
        f'{{ op = "resize", width = {WIDTH}, height = {HEIGHT}, interpolation = "area" }},\n'
        '{ op = "normalize", method = "window", low = 0.0, high = 255.0 }]\n'
        f'[[graphs]]\nname = "g"\nfile = "g.onnx"\nsha256 = "{sha["g.onnx"]}"\n'
        f'[[graphs.inputs]]\nname = "image"\nnum_channels = 1\nspatial_shape = {shape}\n'
        'dtype = "float32"\nchannel_def = ["image"]\nmodality = ["US"]\n'
        + head("heatmaps", "heatmaps", list(GRAYS), shape)
        + head("mask", "mask", ["disc"], shape)
        + head("view", "classes", VIEWS)
        + '[[measurements]]\nname = "AB"\nkind = "distance"\nof = ["a", "b"]\n'
        + f'[golden]\nfile = "golden.json"\nsha256 = "{sha["golden.json"]}"\n'
    ).encode()
    for name, data in files.items():
        (folder / name).write_bytes(data)


def inside(x, y, w, h):
    """The pixels of the ellipse inscribed in a box around (x, y)."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    return ((u - x) / (w / 2)) ** 2 + ((v - y) / (h / 2)) ** 2 <= 1


class Case:
    """A frame as it is drawn, and a truth that is a little off it."""

    def __init__(self, random):
        size = random.uniform(20, 40, 2)
        self.box = [*random.uniform((30, 25), (66, 47)), *size]
        self.mask = inside(*self.box)
        self.mm = random.uniform(0.1, 0.9, 2)
        self.true_box = np.array(self.box) + random.uniform(-3, 3, 4)
        places = random.choice(WIDTH // 2 * HEIGHT // 2, 4, replace=False)
        self.found, self.truth = {}, {}
        for name, place in zip(GRAYS, places):
            at = 2 * np.array([place % (WIDTH // 2), place // (WIDTH // 2)])
            # A dot in the mask is a hole, which is filled, and found all the same.
            if random.random() < 0.9:
                self.found[name] = at
            self.truth[name] = at + random.normal(0, 3, 2)
        self.view = VIEWS[int(self.pixels().mean() / 255 <= 0.1)]
        self.true_view = self.view if random.random() < 0.7 else str(random.choice(VIEWS))

    def pixels(self):
        frame = np.where(self.mask, 255, 0).astype("u1")
        for name, (x, y) in self.found.items():
            frame[y, x] = GRAYS[name]
        return frame

    def row(self, name):
        row = {"image": name, "mm_per_px": ";".join(map(repr, map(float, self.mm)))}
        row |= {f"{n}_{axis}_px": v for n, at in self.truth.items() for axis, v in zip("xy", at)}
        row |= {f"disc_{part}_px": v for part, v in zip("xywh", self.true_box)}
        ab = np.linalg.norm((self.truth["a"] - self.truth["b"]) * self.mm)
        return row | {"view": self.true_view, "ab_mm": ab + 0.25}


@pytest.fixture(scope="module")
def evaluated(intraop, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    write_package(folder / "dots")
    random = np.random.default_rng(4)
    cases = [Case(random) for _ in range(40)]
    with open(folder / "cases.csv", "w", newline="") as file:
        rows = [case.row(f"{i}.png") for i, case in enumerate(cases)]
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    for i, case in enumerate(cases):
        cv2.imwrite(str(folder / f"{i}.png"), case.pixels())
    out = folder / "out"
    command = ["evaluate", "--model", folder / "dots", "--cases", folder / "cases.csv"]
    report = intraop.json(*command, "--out", out)
    with open(out / "per_case.csv", newline="") as file:
        return cases, report, list(csv.DictReader(file))


def test_errors_curve_and_failures(evaluated):
    cases, report, rows = evaluated
    diagonal = np.hypot(WIDTH, HEIGHT)
    for name in [*GRAYS, None]:
        ours = report if name is None else report["landmarks"][name]
        names = GRAYS if name is None else [name]
        pairs = [(c, c.found.get(n), c.truth[n]) for c in cases for n in names]
        px = np.array([np.inf if f is None else np.linalg.norm(f - t) for _, f, t in pairs])
        mm = [np.linalg.norm((f - t) * c.mm) for c, f, t in pairs if f is not None]
        assert ours["truths"] == len(px)
        assert ours["error_px_mean"] == pytest.approx(px[np.isfinite(px)].mean())
        assert ours["error_px_median"] == pytest.approx(np.median(px[np.isfinite(px)]))
        assert ours["error_mm_mean"] == pytest.approx(np.mean(mm))
        # The curve at every step: the trapezoids under upright steps are exact.
        errors = np.sort(px / diagonal)
        steps = errors[errors <= 0.05]
        x = np.concatenate([[0], np.repeat(steps, 2), [0.05]])
        share = np.arange(len(steps) + 1) / len(errors)
        assert ours["auc"] == pytest.approx(auc(x, np.repeat(share, 2)) / 0.05)
        assert ours["failure_rate"] == pytest.approx((errors > 0.05).mean())
    lost = sum(name not in case.found for case in cases for name in GRAYS)
    # Every mask was found.
    assert lost > 5
    assert report["found_fraction"] == pytest.approx(1 - lost / (len(cases) * 5))
    for case, row in zip(cases, rows):
        error = np.linalg.norm(case.found["a"] - case.truth["a"]) if "a" in case.found else None
        assert row["a_error_px"] == ("" if error is None else f"{error:.6f}")


def test_overlap_and_distance_of_outlines(evaluated):
    cases, report, rows = evaluated
    all_dice, all_hd95 = [], []
    for case, row in zip(cases, rows):
        # As it was drawn, dots and all, holes filled; dots at its edge are not of it.
        drawn = sitk.GetImageFromArray((case.pixels() > 127).astype("u1"))
        found = sitk.GetArrayFromImage(largest(sitk.BinaryFillhole(drawn, False)))
        masks = [m.astype(bool) for m in (found, inside(*case.true_box))]
        overlap = sitk.LabelOverlapMeasuresImageFilter()
        overlap.Execute(*(sitk.GetImageFromArray(m.astype("u1")) for m in masks))
        all_dice.append(overlap.GetDiceCoefficient(1))
        outlines = []
        for mask in masks:
            padded = np.pad(mask, 1)
            core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
            outlines.append(np.argwhere(mask & ~core)[:, ::-1] * case.mm)
        distances = cdist(*outlines)
        all_hd95.append(max(np.percentile(distances.min(axis), 95) for axis in (0, 1)))
        assert float(row["dice"]) == pytest.approx(all_dice[-1], abs=1e-6)
        assert row["mask_dice"] == row["dice"]
        assert float(row["hd95_mm"]) == pytest.approx(all_hd95[-1], abs=1e-5)
    assert report["dice_mean"] == pytest.approx(np.mean(all_dice))
    assert report["dice_sd"] == pytest.approx(np.std(all_dice, ddof=1))
    assert report["hd95_mm_mean"] == pytest.approx(np.mean(all_hd95))
    assert min(all_dice) < 0.9 and max(all_hd95) > 1


def largest(image):
    """The largest 4-connected part."""
    parts = sitk.RelabelComponent(sitk.ConnectedComponent(image, False))
    return parts == 1


def test_measurements_and_views(evaluated):
    cases, report, rows = evaluated
    found = [c for c in cases if "a" in c.found and "b" in c.found]
    measured = [np.linalg.norm((c.found["a"] - c.found["b"]) * c.mm) for c in found]
    truth = [np.linalg.norm((c.truth["a"] - c.truth["b"]) * c.mm) + 0.25 for c in found]
    off = np.subtract(measured, truth)
    ours = report["measurements"]["AB"]
    assert (ours["n"], ours["missing"], ours["unit"]) == (len(found), len(cases) - len(found), "mm")
    assert ours["mae"] == pytest.approx(np.abs(off).mean())
    assert ours["bias"] == pytest.approx(off.mean())
    assert ours["sd"] == pytest.approx(off.std(ddof=1))
    limits = [off.mean() + side * 1.96 * off.std(ddof=1) for side in (-1, 1)]
    assert ours["limits"] == pytest.approx(limits)
    truth, seen = [c.true_view for c in cases], [row["view"] for row in rows]
    assert [row["view_truth"] for row in rows] == truth and seen == [c.view for c in cases]
    counts = np.array(report["confusion"]["counts"])
    np.testing.assert_array_equal(counts[:, :2], confusion_matrix(truth, seen, labels=VIEWS))
    assert counts[:, 2].sum() == 0
    assert report["accuracy"] == pytest.approx(accuracy_score(truth, seen))
    assert 0 < report["accuracy"] < 1


def test_the_network_is_sound():
    onnx.checker.check_model(onnx.load_from_string(network()))
