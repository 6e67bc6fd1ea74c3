"""What an offline W&B run holds, read back from its file, and what happens where W&B cannot be had."""

from __future__ import annotations

import json
import logging
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from mftcoder.core.errors import UserError
from mftcoder.tracker.composite import Trackers
from mftcoder.tracker.wandb import WandB


@pytest.fixture(autouse=True)
def nobody_is_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)


def tracker(mode: Literal["online", "offline", "disabled"]) -> WandB:
    return WandB(project="balance", entity=None, group="study", tags=["tiny"], mode=mode)


def start(tracker: WandB | Trackers, run_dir: Path) -> None:
    tracker.start(run_dir=run_dir, name="x", config={"optimizer": {"lr": 0.1}}, tasks=["code"], total_steps=9)


def records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file below 32 KiB: 7 bytes of header, then each with checksum, length and kind."""
    from wandb.proto.wandb_internal_pb2 import Record

    data = path.read_bytes()[7:]
    while data:
        _, length, kind = struct.unpack("<IHB", data[:7])
        assert kind == 1, "a record that is cut over blocks"
        record = Record()
        record.ParseFromString(data[7 : 7 + length])
        yield record
        data = data[7 + length :]


def written(run_dir: Path) -> list[Any]:
    (path,) = run_dir.glob("wandb/offline-run-*/*.wandb")
    return list(records(path))


def test_offline_keeps_names_values_and_configuration_in_the_run_directory(tmp_path: Path) -> None:
    wandb = tracker("offline")
    start(wandb, tmp_path)
    wandb.log({"step": 3, "train/loss/code": 0.1 + 0.2})
    wandb.log({"step": 4, "train/loss/code": 0.25, "valid/loss": 0.5})
    wandb.finish()
    kept = written(tmp_path)
    (run,) = (record.run for record in kept if record.HasField("run"))
    assert (run.project, run.run_group, list(run.tags)) == ("balance", "study", ["tiny"])
    assert run.display_name == f"x/{tmp_path.name}"
    config = {item.key: json.loads(item.value_json) for item in run.config.update if item.key != "_wandb"}
    assert config == {"optimizer": {"lr": 0.1}}
    history = [record.history for record in kept if record.HasField("history")]
    items = [{i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in line.item} for line in history]
    values = [{key: value for key, value in line.items() if not key.startswith("_")} for line in items]
    assert values == [{"train/loss/code": 0.1 + 0.2}, {"train/loss/code": 0.25, "valid/loss": 0.5}]
    assert [line.step.num for line in history] == [3, 4]


def test_a_resumed_run_has_the_id_of_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(wandb, "init", lambda **arguments: calls.append(arguments))
    for name in ("first", "first", "second"):
        start(tracker("online"), tmp_path / name)
    first, again, second = (call["id"] for call in calls)
    assert first == again != second
    assert {call["resume"] for call in calls} == {"allow"}


def test_without_a_login_the_run_goes_on_with_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), Trackers({"wandb": tracker("online")}) as trackers:
        start(trackers, tmp_path)
        trackers.log({"step": 1, "train/loss": 1.0})
    (message,) = [m for m in caplog.messages if m.startswith("tracker.")]
    assert "No API key" in message
    assert message.endswith("the run goes on without it")


def test_the_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"tracker=wandb: .*pip install 'mftcoder\[trackers\]'"):
        start(tracker("offline"), tmp_path)
