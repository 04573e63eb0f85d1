"""What `bench` says of its own samples, against numpy's and scipy's statistics of the same file."""

import csv
import json

import numpy as np
import pytest
from scipy import stats


@pytest.fixture(scope="module")
def benchmark(intraop, tmp_path_factory):
    out = tmp_path_factory.mktemp("bench")
    intraop.output("bench", "--runs", 700, "--warmup", 1, "--threads", 1, "--affine-only", "--out", out)
    with open(out / "samples.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return json.loads((out / "bench.json").read_text()), rows


def test_statistics_are_numpys(benchmark):
    report, rows = benchmark
    assert len(rows) == 700
    for stage in report["stages"]:
        times = np.array([float(row[f"{stage['name']}_ns"]) for row in rows])
        assert stage["n"] == 700
        assert (stage["min"], stage["max"]) == (times.min(), times.max())
        np.testing.assert_allclose(stage["p50"], np.median(times), rtol=1e-12)
        np.testing.assert_allclose(stage["mean"], times.mean(), rtol=1e-12)
        np.testing.assert_allclose(stage["sd"], times.std(ddof=1), rtol=1e-9)
        for percent in (90, 95, 99):
            expected = np.percentile(times, percent, method="inverted_cdf")
            assert stage[f"p{percent}"] == expected, (stage["name"], percent)
        # The lowest order statistic that is too low for 1 in 100 series at most.
        above = stats.binom.ppf(0.01, 700, 0.05)
        above -= stats.binom.cdf(above, 700, 0.05) > 0.01
        assert stage["p95_at_most"] == np.sort(times)[699 - int(above)]
        blocks = [np.median(block) for block in np.split(times, 10)]
        np.testing.assert_allclose(stage["noise"], np.std(blocks, ddof=1) / np.median(times), rtol=1e-9)
