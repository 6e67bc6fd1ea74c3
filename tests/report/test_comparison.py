"""Choices are compared by pairs of seeds, and only what is evidence has a star."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from written_run import write_run

from mftcoder.core.errors import UserError
from mftcoder.report import paper
from mftcoder.report.comparison import MEAN, Comparison, compare
from mftcoder.report.differences import difference_chart
from mftcoder.report.draw import write
from mftcoder.report.record import Record, read

TASKS = ("code", "docs")


def record(number: int, balancer: str, seed: int, losses: dict[str, float]) -> Record:
    """A job that was validated once."""
    line = {"step": 1, "valid/loss": sum(losses.values()) / len(losses)}
    line |= {f"valid/loss/{task}": loss for task, loss in losses.items()}
    overrides = {"balancer": balancer, "seed": str(seed)}
    return Record(Path(f"{number}-x"), [line], [], "", overrides, {})


def sweep(losses: dict[str, list[tuple[float, float]]]) -> Comparison:
    """The comparison of choices, of each of which the losses of both tasks are given for every seed."""
    jobs = [
        record(0, choice, seed, dict(zip(TASKS, pair, strict=True)))
        for choice, pairs in losses.items()
        for seed, pair in enumerate(pairs)
    ]
    numbered = [Record(Path(f"{i}-x"), j.metrics, [], "", j.overrides, {}) for i, j in enumerate(jobs)]
    found = compare(numbered)
    assert found is not None
    return found


def test_differences_are_paired_so_that_what_seeds_share_falls_out() -> None:
    """Seeds differ by 1, the choices by 0.1 in each of them."""
    found = sweep({"equal": [(1.0, 2.0), (2.0, 3.0), (3.0, 4.0)], "famo": [(0.9, 2.0), (1.89, 3.0), (2.91, 4.0)]})
    assert [row.name for row in found.rows] == ["famo", "equal"]
    assert found.first == "equal"
    famo = found.rows[0]
    assert famo.differences["code"].values == pytest.approx([-0.1, -0.11, -0.09])
    assert famo.differences["code"].verdict == "lower"
    assert famo.differences["code"].star == "*"
    assert famo.differences["docs"].verdict == "identical to the bit"
    assert famo.differences[MEAN].mean == pytest.approx(-0.05)
    assert famo.spread("code") == "1.900 ± 1.005"


def test_what_the_spread_covers_is_no_difference() -> None:
    found = sweep({"equal": [(1.0, 1.0), (1.0, 1.0), (1.0, 1.0)], "coba": [(0.9, 1.0), (1.2, 1.0), (0.8, 1.0)]})
    (coba,) = [row for row in found.rows if row.name == "coba"]
    assert coba.differences[MEAN].verdict == "no difference"
    assert coba.differences["code"].star == ""


def test_one_seed_is_no_evidence_and_the_same_course_is_identical() -> None:
    found = sweep({"equal": [(1.0, 1.0)], "coba": [(0.5, 1.0)], "dwa": [(1.0, 1.0)]})
    verdicts = {row.name: row.differences[MEAN].verdict for row in found.rows}
    assert verdicts == {"coba": "one seed", "equal": "first", "dwa": "identical to the bit"}


def test_equal_against_equal_is_no_difference_at_the_stated_rate() -> None:
    """800 tables of three choices that differ by chance alone: a star among the means in at most one of twenty."""
    draws = np.random.default_rng(0).normal(3.0, 0.05, size=(800, 4, 5, 2))
    starred = 0
    for table in draws:
        names = ("equal", "a", "b", "c")
        found = sweep({name: [tuple(pair) for pair in own] for name, own in zip(names, table.tolist(), strict=True)})
        starred += any(row.differences[MEAN].star for row in found.rows)
    assert 0.01 < starred / 800 < 0.05 + 2 * math.sqrt(0.05 * 0.95 / 800)


def test_a_true_difference_is_found() -> None:
    draws = np.random.default_rng(1).normal(3.0, 0.02, size=(2, 5, 2))
    draws[1] -= 0.1
    found = sweep({"equal": [tuple(p) for p in draws[0].tolist()], "a": [tuple(p) for p in draws[1].tolist()]})
    assert found.rows[0].differences[MEAN].verdict == "lower"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for number, (balancer, seed) in enumerate((b, s) for b in ("equal", "famo_x") for s in (1, 2, 3)):
        slope = 0.02 + 0.001 * seed + (0.01 + 0.001 * seed if balancer == "famo_x" else 0)
        write_run(tmp_path / f"{number}-a", slope=slope, overrides=(f"balancer={balancer}", f"seed={seed}"))
    return tmp_path


def test_the_table_is_written_for_a_spreadsheet_and_a_paper(directory: Path) -> None:
    (file,) = write(directory, "csv")
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    assert {(row["balancer"], row["task"]) for row in rows} == {
        (balancer, task) for balancer in ("equal", "famo_x") for task in (MEAN, "code", "docs & <notes>")
    }
    (mean,) = [row for row in rows if (row["balancer"], row["task"]) == ("famo_x", MEAN)]
    assert mean["verdict"] == "lower"
    assert float(mean["low"]) < float(mean["difference"]) < float(mean["high"]) < 0
    (file,) = write(directory, "tex")
    text = file.read_text()
    assert r"famo\_x & $-0." in text
    assert r"docs \& $<$notes$>$" in text
    assert text.count("{") == text.count("}")
    assert "^*$" in text


def test_the_charts_stand_alone(directory: Path) -> None:
    curves, differences = write(directory, "svg")
    for file in (curves, differences):
        root = ElementTree.parse(file).getroot()
        assert root.tag.endswith("svg")
        assert "var(" not in file.read_text()
    assert "famo_x" in curves.read_text()
    pytest.importorskip("cairosvg")
    for file in write(directory, "png"):
        assert file.read_bytes().startswith(b"\x89PNG")


def test_a_run_has_a_table_and_a_chart_too(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (table,) = write(run, "csv")
    assert table.read_text().splitlines()[0].startswith("step,train/effective_weight/code,")
    assert "mean & " in write(run, "tex")[0].read_text()
    assert ElementTree.parse(write(run, "svg")[0]).getroot() is not None


def test_where_nothing_was_validated_there_is_nothing_to_draw(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in line.items() if not k.startswith("valid/")} for line in lines]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
    with pytest.raises(UserError, match="nothing to draw: no validation loss was logged"):
        write(run, "svg")
    assert compare([read(run)]) is None


def test_the_chart_of_differences_names_what_it_shows(directory: Path) -> None:
    comparison = compare([read(job) for job in sorted(directory.iterdir())])
    assert comparison is not None
    root = ElementTree.fromstring(difference_chart(comparison))
    assert next(e.text or "" for e in root.iter("title")).startswith("mean: -0.")
    assert paper.tex("a_b & 50%") == r"a\_b \& 50\%"
