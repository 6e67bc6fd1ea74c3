"""`hydra/sweeper=optuna` as it is typed: killed at every trial, it ends as though nobody had killed it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from command_line import ROOT, run, start, status

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("conf")]

SEARCH = ("-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "value=tag(log,interval(1e-5,1e-1))")


def states(sweep: str) -> list[object]:
    return [status(path)["state"] for path in jobs(sweep)]


def metrics(sweep: str) -> list[object]:
    return [status(path)["metric"] for path in jobs(sweep)]


def jobs(sweep: str) -> list[Path]:
    return sorted(path for path in Path(sweep).iterdir() if path.is_dir())


def kill_at(trial: int, *words: str) -> None:
    """Start a search and kill it while its job waits; return when the job has seen that nobody needs it."""
    process, end = start(*words), time.monotonic() + 60
    while not (ready := list(Path("mine").glob(f"{trial}-*/ready0"))):
        assert time.monotonic() < end
        time.sleep(0.05)
    process.kill()
    process.communicate()
    while status(ready[0].parent)["state"] == "running":
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_search_that_is_killed_at_every_trial_ends_like_one_that_is_not() -> None:
    code, _, err = run(*SEARCH, "hydra.sweep.dir=whole", "action=return")
    assert code == 0, err
    words = (*SEARCH, "hydra.sweep.dir=mine", "action=wait_once")
    for trial in range(3):
        kill_at(trial, *words)
        assert states("mine") == ["completed"] * trial + ["preempted"]
    code, out, err = run(*words)
    assert code == 0, err
    assert out.count("toy toy on rank 0\n") == 1, "only the trial that was killed last"
    assert metrics("mine") == metrics("whole")
    assert len(set(metrics("mine"))) == len(jobs("mine")) == 3
    found = yaml.safe_load(Path("mine/optimization_results.yaml").read_text())
    assert found["best_evaluated_result"] == found["best_evaluated_params"]["value"] == min(map(float, metrics("mine")))
    code, out, err = run(*words)
    assert (code, out.count("toy toy on rank 0\n"), len(jobs("mine"))) == (0, 0, 3), "nothing is left to do"


def test_a_failed_trial_is_told_and_the_next_start_chooses_another_in_its_place() -> None:
    words = ("-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "hydra.sweep.dir=mine", "action=return,refuse")
    code, _, err = run(*words)
    assert code == 1
    assert "data: no such file; give another" in err
    assert "Traceback" not in err
    assert len(jobs("mine")) == 4
    completed = states("mine").count("completed")
    assert states("mine").count("failed") == 4 - completed > 0
    assert completed > 0
    run(*words)
    assert len(jobs("mine")) == 4 + 4 - completed


def test_a_job_without_a_metric_ends_the_search_and_says_why() -> None:
    code, _, err = run(*SEARCH, "hydra.sweep.dir=mine", "action=nothing")
    assert (code, len(jobs("mine"))) == (1, 1)
    assert err.startswith("hydra/sweeper=optuna: job 0 ended without a metric, and there is nothing to minimise; ")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("value=1",), "hydra/sweeper=optuna: nothing to choose"),
        (("value=interval(2,1)",), "value: interval(2.0,1.0): "),
        (("engine=none,nine",), "engine: 'nine' is not a choice; did you mean 'none'?"),
        (("value=interval(1,2)", "valeu=3"), "valeu: not a parameter of toy; did you mean 'value'?"),
        (("value=interval(1,2)", "hydra.sweeper.n_trials=ten"), "hydra.sweeper.n_trials: 'ten' is not a count"),
    ],
)
def test_a_fault_is_found_before_anything_is_tried(words: tuple[str, ...], fault: str) -> None:
    code, _, err = run("-m", "hydra/sweeper=optuna", "hydra.sweep.dir=mine", *words)
    assert code == 2
    assert fault in err
    assert not list(Path().glob("mine/*/")), "no job"


def test_without_optuna_the_remedy_is_said(tmp_path: Path) -> None:
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / "optuna.py").write_text("raise ModuleNotFoundError(\"No module named 'optuna'\")\n")
    code, _, err = run(*SEARCH, PYTHONPATH=f"{tmp_path / 'absent'}:{ROOT / 'tests' / 'support'}")
    remedy = "hydra/sweeper=optuna: No module named 'optuna'; pip install 'mftcoder[optuna]'"
    assert (code, err) == (2, f"1 fault in the configuration:\n  {remedy}\n")
