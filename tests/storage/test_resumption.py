import json
import os
from pathlib import Path

import pytest

from mftcoder.cli import config
from mftcoder.core.errors import UserError
from mftcoder.storage import resumption
from mftcoder.system import manifest


def make_run(run: Path, *steps: int, age: int = 0, status: str = "") -> Path:
    """A run with whole checkpoints at `steps`, last saved `age` seconds ago."""
    for step in steps:
        directory = run / "checkpoints" / f"step_{step:06d}"
        directory.mkdir(parents=True)
        (directory / "weights").write_text(str(step))
        manifest.seal(directory, step=step)
    latest = run / "checkpoints" / "latest"
    latest.write_text(f"step_{steps[-1]:06d}")
    os.utime(latest, (2e9 - age, 2e9 - age))
    if status:
        (run / "status.json").write_text(f'{{"state": "{status}"}}')
    return run


def damage(run: Path, step: int) -> None:
    (run / "checkpoints" / f"step_{step:06d}" / "weights").write_text("?")


def found(resume: str, run_dir: Path) -> str | None:
    step = resumption.find(resume, run_dir)
    return None if step is None else f"{step.parent.parent.name}/{int(step.name[5:])}"


def test_none_begins_anew_even_where_there_is_something(tmp_path: Path) -> None:
    assert found("none", make_run(tmp_path / "a", 1)) is None


def test_auto_begins_anew_where_there_is_nothing_and_the_others_complain(tmp_path: Path) -> None:
    assert found("auto", tmp_path / "a") is None
    for demand in ("latest", "best"):
        with pytest.raises(UserError, match=f"resume={demand}: no whole checkpoint in"):
            found(demand, tmp_path / "a")


def test_the_run_itself_comes_before_newer_ones_beside_it(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 1, 2, age=100)
    make_run(tmp_path / "b", 5, age=1)
    for resume in ("auto", "latest"):
        assert found(resume, tmp_path / "a") == "a/2"
        assert found(resume, tmp_path / "c") == "b/5"


def test_auto_leaves_finished_runs_alone(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 1, age=100, status="preempted")
    make_run(tmp_path / "b", 5, age=1, status="completed")
    assert found("auto", tmp_path / "c") == "a/1"
    assert found("latest", tmp_path / "c") == "b/5"


def test_jobs_of_a_sweep_do_not_continue_each_other(tmp_path: Path) -> None:
    make_run(tmp_path / "search" / "0-aa", 3)
    (tmp_path / "search" / "multirun.yaml").touch()
    assert found("auto", tmp_path / "search" / "1-bb") is None
    assert found("auto", tmp_path / "search" / "0-aa") == "0-aa/3"


def test_the_newest_whole_one_is_taken(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", 9, 10, 999999, 1000000)
    damage(run, 1000000)
    assert found("auto", run) == "a/999999"
    damage(run, 999999)
    assert found(str(run), tmp_path / "b") == "a/10"


def test_a_run_with_nothing_whole_is_passed_over(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 1, age=100)
    damage(make_run(tmp_path / "b", 5, age=1), 5)
    assert found("latest", tmp_path / "c") == "a/1"


def test_a_path_means_exactly_that(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", 1, 2)
    assert found(str(run / "checkpoints" / "step_000001"), tmp_path / "b") == "a/1"
    damage(run, 1)
    with pytest.raises(UserError, match=r"step_000001: damaged, and named explicitly"):
        found(str(run / "checkpoints" / "step_000001"), tmp_path / "b")
    with pytest.raises(UserError, match=r"neither a run .* nor a step"):
        found(str(tmp_path / "nowhere"), tmp_path / "b")


def test_what_is_no_step_is_left_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", 1, 2)
    for name in ("step_000002-backup", "step_final", "step_"):
        (run / "checkpoints" / name).mkdir()
    assert [step.name for step in resumption.steps(run)] == ["step_000001", "step_000002"]
    assert found("auto", run) == "a/2"


def test_best_follows_its_pointer_and_is_strict(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", 1, 2, 3)
    with pytest.raises(UserError, match="no whole checkpoint"):
        found("best", run)
    (run / "checkpoints" / "best").write_text("step_000002")
    assert found("best", run) == "a/2"
    damage(run, 2)
    with pytest.raises(UserError, match="damaged"):
        found("best", run)


def test_differences_name_every_key_but_those_that_change_no_result() -> None:
    saved = {"a": {"b": 1, "gone": 2}, "engine": {"num_processes": 1}, "engines": 1, "same": [1, {"x": 2}]}
    current = {"a": {"b": 2, "new": {}}, "engine": {"num_processes": 8}, "engines": 2, "same": [1, {"x": 2}]}
    assert resumption.differences(saved, current) == [
        "a.b: 1 there, 2 here",
        "a.gone: 2 there, '(absent)' here",
        "a.new: '(absent)' there, {} here",
        "engines: 1 there, 2 here",
    ]


def test_how_a_batch_is_divided_is_free_but_the_precision_is_not() -> None:
    saved = {
        "training": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4, "max_grad_norm": 1.0},
        "engine": {"num_processes": 8, "mixed_precision": "no"},
    }
    divided = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 8, "max_grad_norm": 1.0}
    assert resumption.differences(saved, {"training": divided, "engine": {"mixed_precision": "no"}}) == []
    current = {**saved, "engine": {"num_processes": 8, "mixed_precision": "bf16"}}
    assert resumption.differences(saved, current) == ["engine.mixed_precision: 'no' there, 'bf16' here"]


@pytest.mark.parametrize(
    ("packs", "accumulation", "remedy"),
    [
        (16, 4, "training.gradient_accumulation_steps=8 keeps it"),
        (48, 2, "no gradient_accumulation_steps keeps it, as these processes take 24 packs at a time"),
    ],
)
def test_another_global_batch_is_named_with_its_remedy(packs: int, accumulation: int, remedy: str) -> None:
    saved = {"packs_per_step": 32, "gradient_accumulation_steps": 4}
    current = {"packs_per_step": packs, "gradient_accumulation_steps": accumulation}
    line = f"packs of a global batch: 32 there, {packs} here; {remedy}"
    assert resumption.other_batch(saved, current) == [line]
    assert resumption.other_batch(saved, {"packs_per_step": 32, "gradient_accumulation_steps": 8}) == []
    assert resumption.other_batch({}, current) == []


def test_tasks_with_other_data_are_named() -> None:
    saved = {"data": {"add": "a", "double": "b", "gone": "c"}}
    assert resumption.other_data(saved, {"data": {"add": "a", "double": "d", "new": "e"}}) == [
        "task double: not the same data as there",
        "task gone: not in both",
        "task new: not in both",
    ]
    assert resumption.other_data(saved, saved) == []
    assert resumption.other_data({}, saved) == []


@pytest.mark.parametrize(
    "text", ["", "null", "{", "[1]", '{"state": 3}', '{"state": "running", "metric": "x"}', "\x00"]
)
def test_a_damaged_status_beside_a_run_is_a_warning(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    broken = make_run(tmp_path / "a", 1, age=1)
    (broken / "status.json").write_text(text)
    make_run(tmp_path / "b", 5, age=100)
    assert found("auto", tmp_path / "b") == "b/5"
    assert "a/status.json" not in caplog.text
    assert found("auto", tmp_path / "c") == "a/1"
    assert "a/status.json: is no status of a run, and left out" in caplog.text


@pytest.mark.parametrize("data", [b"\xff\xfe", b"x" * 5000, b"", b"a\nb", b"\x00"])
def test_a_damaged_pointer_is_refused_in_words(tmp_path: Path, data: bytes) -> None:
    run = make_run(tmp_path / "a", 1)
    (run / "checkpoints" / "best").write_bytes(data)
    with pytest.raises(UserError, match=r"checkpoints/best: names no step: .*; remove it, or name a step"):
        found("best", run)
    (run / "checkpoints" / "latest").write_bytes(data)
    assert found("auto", run) == "a/1"
    assert resumption.saved(run) is None


@pytest.mark.parametrize("name", ["step_٣", "step_99999999999999999999999999", "step_1x", "step_"])
def test_odd_names_are_no_steps(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path / "a", 1)
    (run / "checkpoints" / name).mkdir()
    assert [step.name for step in resumption.steps(run)] == ["step_000001"]


def test_a_run_that_was_saved_before_the_modules_moved_differs_in_no_target() -> None:
    """Its run.json is as the code before wrote it; settings that did not exist then are named, which refuses auto."""
    saved = json.loads((Path(__file__).parent / "saved" / "run_before_the_rooms.json").read_text(encoding="utf-8"))
    now = config.load("model=tiny", "data=folders", "data.paths=[d/add]", "template=codefuse")
    assert saved["_target_"] != now["_target_"]
    assert saved["training"]["_target_"] != now["training"]["_target_"] or saved["checkpoint"] != now["checkpoint"]
    assert [line for line in resumption.differences(saved, now) if "_target_" in line] == []
    moved = {**now, **{name: saved[name] for name in ("_target_", "checkpoint")}}
    assert resumption.differences(moved, now) == []
