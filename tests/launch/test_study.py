"""What an adaptive sweep tries: from its results it learns, and a study that is opened again is the same study."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from optuna.trial import FrozenTrial, TrialState

from mftcoder.core.errors import ConfigError
from mftcoder.launch.study import BEST, JOURNAL, Space, Study

SPACE: Space = {"lr": (1e-5, 1e-1, True), "rank": (1, 64, False), "balancer": ["equal", "coba"]}


def loss(trial: FrozenTrial) -> float:
    """Least at lr=1e-3, rank=16, balancer=coba."""
    params = trial.params
    return abs(math.log10(params["lr"]) + 3) + abs(params["rank"] - 16) / 16 + (params["balancer"] == "equal")


def search(directory: Path, trials: int, *, seed: int = 1, reopen: bool = False) -> list[FrozenTrial]:
    directory.mkdir(exist_ok=True)
    study, tried = Study(directory, SPACE, [], seed=seed), []
    for _ in range(trials):
        study = Study(directory, SPACE, [], seed=seed) if reopen else study
        tried.append(study.next())
        study.tell(tried[-1], loss(tried[-1]))
    study.write_best()
    return tried


def test_it_learns_and_a_study_opened_again_chooses_the_same(tmp_path: Path) -> None:
    tried = search(tmp_path / "whole", 30)
    assert min(map(loss, tried)) < min(map(loss, tried[:10])), "the first ten are random"
    assert sum(map(loss, tried[20:])) < 0.7 * sum(map(loss, tried[:10]))
    again = search(tmp_path / "parts", 30, reopen=True)
    assert [trial.params for trial in again] == [trial.params for trial in tried]
    assert search(tmp_path / "other", 1, seed=2)[0].params not in [trial.params for trial in tried]
    found = yaml.safe_load((tmp_path / "whole" / BEST).read_text(encoding="utf-8"))
    best = min(tried, key=loss)
    assert (found["best_evaluated_params"], found["best_evaluated_result"]) == (best.params, loss(best))


def test_values_are_within_what_was_asked(tmp_path: Path) -> None:
    for trial in search(tmp_path, 12):
        assert 1e-5 <= trial.params["lr"] <= 1e-1
        assert type(trial.params["rank"]) is int
        assert trial.params["balancer"] in ("equal", "coba")


def test_a_trial_without_a_word_is_tried_again_and_counted_once(tmp_path: Path) -> None:
    left = Study(tmp_path, SPACE, [], seed=1).next()
    study = Study(tmp_path, SPACE, [], seed=1)
    again = study.next()
    assert (again.number, again.params, study.completed) == (left.number, left.params, 0)
    study.tell(again, 2.0)
    assert study.completed == 1
    assert study.next().number == left.number + 1


def test_a_trial_that_was_killed_while_it_was_chosen_is_given_up(tmp_path: Path) -> None:
    study = Study(tmp_path, SPACE, [], seed=1)
    study._study.ask().suggest_float("lr", 1e-5, 1e-1, log=True)
    assert study.next().number == 1
    assert [trial.state for trial in study._study.get_trials()] == [TrialState.FAIL, TrialState.RUNNING]


def test_a_journal_whose_last_line_was_cut_off_is_opened(tmp_path: Path) -> None:
    study = Study(tmp_path, SPACE, [], seed=1)
    for _ in range(2):
        study.tell(study.next(), 1.0)
    whole = (tmp_path / JOURNAL).read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    for cut in (1, last // 2, last - 1):
        (tmp_path / JOURNAL).write_bytes(whole[:-cut])
        study = Study(tmp_path, SPACE, [], seed=1)
        again = study.next()
        assert (again.number, study.completed) == (1, 1)
        study.tell(again, 1.0)
        assert Study(tmp_path, SPACE, [], seed=1).completed == 2


def test_a_failure_is_no_result_and_nan_is_the_worst(tmp_path: Path) -> None:
    study = Study(tmp_path, SPACE, [], seed=1)
    study.tell(study.next(), None)
    study.write_best()
    assert study.completed == 0
    assert not (tmp_path / BEST).exists()
    for metric in (math.nan, 3.0):
        study.tell(study.next(), metric)
    assert study.completed == 2
    assert study._study.best_value == 3.0


@pytest.mark.parametrize(("space", "fixed"), [({"lr": (1e-5, 1e-2, True)}, []), (SPACE, ["seed=2"])])
def test_results_of_another_search_are_not_mixed_in(tmp_path: Path, space: Space, fixed: list[str]) -> None:
    study = Study(tmp_path, SPACE, [], seed=1)
    study.tell(study.next(), 1.0)
    with pytest.raises(ConfigError, match=f"{JOURNAL} is of another search; type the same overrides"):
        Study(tmp_path, space, fixed, seed=1)


def test_a_search_that_came_to_nothing_makes_way(tmp_path: Path) -> None:
    study = Study(tmp_path, SPACE, [], seed=1)
    study.tell(study.next(), None)
    assert Study(tmp_path, {"balancer": ["a", "b", "c"]}, [], seed=1).next().number == 0


@pytest.mark.parametrize(
    ("space", "fault"),
    [
        ({}, "nothing to choose"),
        ({"lr": (1.0, 0.0, False)}, r"lr: interval\(1.0,0.0\): "),
        ({"lr": (0.0, 1.0, True)}, r"lr: interval\(0.0,1.0\): "),
    ],
)
def test_what_cannot_be_searched_is_refused(tmp_path: Path, space: Space, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        Study(tmp_path, space, [], seed=1)
    assert list(tmp_path.iterdir()) == []


def test_no_secret_is_in_the_journal(tmp_path: Path) -> None:
    study = Study(tmp_path, SPACE, ["+service.api_key=s3cr3t"], seed=1)
    study.tell(study.next(), 1.0)
    assert "s3cr3t" not in (tmp_path / JOURNAL).read_text(encoding="utf-8")
