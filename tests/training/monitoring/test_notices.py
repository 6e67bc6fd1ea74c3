"""What is said before the first step."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mftcoder.balancer.equal import Equal
from mftcoder.scheduler.constant import Constant
from mftcoder.training.monitoring.notices import before_the_start

BEFORE = {
    "balancer.coba_warmup_steps: 100 steps have equal weights, and the run has 2": ("balancer=coba",),
    "balancer.window_steps: two windows of 50 steps have equal weights, and the run has 2": ("balancer=dwa",),
    "the learning rate rises for 1 of 2 steps": ("scheduler.num_warmup_steps=1",),
    "fewer than 20 validation samples, so losses that say little: add 8, double 3": (),
}


@pytest.mark.parametrize("words", BEFORE)
def test_what_is_known_to_go_wrong_is_said_before_the_start(run, tmp_path, caplog, words):
    run(tmp_path / "a", *BEFORE[words], "training.max_train_steps=2", "training.evaluate_first=false")
    assert any(words in record.getMessage() for record in caplog.records)


def test_fractions_of_the_run_say_nothing_and_act(run, tmp_path, caplog):
    coba = ("balancer=coba", "balancer.coba_warmup_steps=0.2", "balancer.coba_history_length=0.5")
    run(tmp_path / "a", *coba, "balancer.coba_update_interval=1", "training.evaluation_steps=0.5")
    assert not any("equal weights" in record.getMessage() for record in caplog.records)


def test_dropped_dialogues_are_told_by_task():
    valid = SimpleNamespace(num_samples=lambda task: 20)
    report = {"a": {"dropped": 0}, "b": {"dropped": 7}, "c": {}}
    corpus = SimpleNamespace(tasks=list(report), valid=valid, report=report)
    (told,) = before_the_start(corpus, Equal(), Constant(num_warmup_steps=0), 9, balancing=[])
    assert told == "dialogues dropped, since data.seq_length leaves nothing of them to learn: b 7"
