"""Another service gets what accelerate's own trackers expect."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from accelerate import tracking

from mftcoder.core.errors import UserError
from mftcoder.tracker.accelerate import Accelerate

CONFIG: dict[str, Any] = {"seed": 1, "optimizer": {"lr": 0.1, "betas": [0.9, 0.99], "fused": True}, "peft": None}


class Service(tracking.GeneralTracker):
    """A tracker as accelerate's documentation asks for, which keeps what it gets."""

    name = "mlflow"
    requires_logging_directory = False
    last: Service

    def __init__(self, run_name: str, **options: Any) -> None:
        super().__init__()
        self.got: list[Any] = [(run_name, options)]
        Service.last = self

    @property
    def tracker(self) -> Service:
        return self

    @tracking.on_main_process
    def start(self) -> None:
        self.got.append("start")

    @tracking.on_main_process
    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.got.append(values)

    @tracking.on_main_process
    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        self.got.append((step, values))

    @tracking.on_main_process
    def finish(self) -> None:
        self.got.append("finish")


def start(tracker: Accelerate) -> None:
    tracker.start(run_dir=Path("runs/x"), name="x", config=CONFIG, tasks=["code"], total_steps=9)


def test_the_service_gets_flat_configuration_and_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "mlflow", Service)
    tracker = Accelerate(service="mlflow", options={"logging_dir": "mlruns"})
    start(tracker)
    tracker.log({"step": 2, "train/loss/code": 0.5})
    tracker.finish()
    assert Service.last.got == [
        ("x", {"logging_dir": "mlruns"}),
        "start",
        {"seed": 1, "optimizer.lr": 0.1, "optimizer.betas": "[0.9, 0.99]", "optimizer.fused": True, "peft": "None"},
        (2, {"train/loss/code": 0.5}),
        "finish",
    ]


def test_accelerates_own_process_state_is_never_made() -> None:
    code = """
from pathlib import Path
from accelerate import PartialState, tracking
from tests.tracker.test_accelerate import Service, start, Accelerate
tracking.LOGGER_TYPE_TO_CLASS["mlflow"] = Service
tracker = Accelerate(service="mlflow", options={})
start(tracker)
tracker.log({"step": 1})
tracker.finish()
assert PartialState._shared_state == {}, PartialState._shared_state
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize("service", ["mlflow", "dvclive", "trackio", "swanlab", "aim", "clearml", "comet_ml"])
def test_the_package_that_is_missing_is_named(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, service, None)
    with pytest.raises(UserError, match=rf"tracker.accelerate.service={service}: .*; install its package"):
        start(Accelerate(service=service, options={}))
