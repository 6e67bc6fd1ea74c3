"""F10, F11: a batch makes loss or gradient infinite, or the loss leap, and is left out as the plan says."""

from __future__ import annotations

import signal
from itertools import count

import pytest
from crashes import At, die, forked
from run_files import anomalies, metrics, same_end, step_files, without
from small_tasks import SIZES

from mftcoder.core.errors import UserError
from mftcoder.training.loop import Trainer


class Batches:
    """Sees which samples steps are taken on, and adds `harm` to weights and loss in those with the sample `bad`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[list[tuple[int, int]]] = []
        self.bad: tuple[int, int] | None = None
        self.harm = 0.0
        step = Trainer.step

        def watched(trainer, number, micro_batches):
            self.seen.append([(s.task, s.index) for micro_batch in micro_batches for s in micro_batch])
            weight = next(iter(trainer.engine.parameters())).data
            before = weight.clone()
            harm = self.harm if self.bad in self.seen[-1] else 0.0
            weight += harm
            report = step(trainer, number, micro_batches)
            report.loss += harm
            if report.skipped:
                weight.copy_(before)
            return report

        monkeypatch.setattr(Trainer, "step", watched)

    def only_in(self, step: int) -> tuple[int, int]:
        """A sample that came in this step alone."""
        others = {s for n, samples in enumerate(self.seen, 1) for s in samples if n != step}
        return next(s for s in self.seen[step - 1] if s not in others)


@pytest.fixture
def batches(run, tmp_path, monkeypatch) -> Batches:
    """After an undisturbed run of two more steps, for those are taken where two are left out."""
    batches = Batches(monkeypatch)
    run(tmp_path / "undisturbed", "training.max_train_steps=8")
    return batches


HARMS = {
    "non_finite": (float("nan"), ["training.non_finite=rollback"]),
    "loss_spike": (99.0, ["training.loss_spike=rollback", "training.loss_spike_window=2"]),
}


@pytest.mark.parametrize("kind", HARMS)
def test_f10_f11_a_rollback_equals_a_run_without_that_data(whole, run, batches, tmp_path, kind):
    batches.bad, (batches.harm, options) = batches.only_in(4), HARMS[kind]
    seen, batches.seen = batches.seen, []
    run(tmp_path / "a", *options)
    (anomaly,) = anomalies(tmp_path / "a")
    assert (anomaly["step"], anomaly["kind"]) == (4, kind)
    assert {(task, row) for task, name in enumerate(SIZES) for row in anomaly["samples"].get(name, [])} == {*seen[3]}
    assert batches.seen == seen
    cut = without(run, whole[0], tmp_path / "b", back=2, bad=4)
    ended, expected = step_files(tmp_path / "a", 6), step_files(cut, 6)
    assert all(ended[name] == expected[name] for name in expected if name != "anomalies.json")
    assert metrics(tmp_path / "a")[3:] == metrics(cut)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [1, 2, 3])
def test_f10_killed_before_or_after_a_rollback(run, batches, tmp_path, killed):
    """Killed after step 3 the first and the second time, and after step 5: after the next checkpoint."""
    batches.bad, batches.harm = batches.only_in(4), float("nan")
    run(tmp_path / "whole", "training.non_finite=rollback")
    times = count(1)
    at = At(5, die) if killed == 3 else At(3, lambda: die() if next(times) == killed else None)
    assert forked(lambda: run(tmp_path / "a", "training.non_finite=rollback", also=at)) == -signal.SIGKILL
    run(tmp_path / "a", "training.non_finite=rollback", "resume=auto")
    assert same_end(tmp_path / "a", tmp_path / "whole")


def test_f10_a_batch_that_is_skipped_changes_nothing(run, batches, tmp_path):
    batches.bad, batches.harm = batches.only_in(4), float("nan")
    options = ("training.non_finite=skip", "checkpoint.checkpointing_steps=1")
    run(tmp_path / "a", *options)
    before, after = (step_files(tmp_path / "a", step) for step in (3, 4))
    for name in ("adapter_model.safetensors", "optimizer.safetensors", "balancer.json"):
        assert before[name] == after[name], name
    assert metrics(tmp_path / "a")[-1]["step"] == 6


def test_f10_without_a_checkpoint_to_go_back_to_the_run_ends_and_says_so(run, batches, tmp_path):
    batches.bad, batches.harm = batches.only_in(2), float("nan")
    with pytest.raises(UserError, match="no checkpoint yet to go back to"):
        run(tmp_path / "a", "training.non_finite=rollback")
