"""The facts of the machine: those that cannot be found out are None, never an error."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest

from mftcoder.system import environment


def test_facts_are_json_and_name_what_was_installed() -> None:
    facts = environment.describe(["launch.py", "seed=1"])
    assert json.loads(json.dumps(facts)) == facts
    assert facts["argv"] == ["launch.py", "seed=1"]
    assert facts["versions"]["torch"] == version("torch")
    assert facts["memory_bytes"] > 2**28
    assert facts["time"].endswith("+00:00")


def test_a_package_that_is_not_there_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PACKAGES", ("numpy", "no-such-package"))
    assert environment.versions().keys() == {"python", "numpy"}


def test_without_programs_to_ask_the_facts_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    facts = environment.describe([])
    assert (facts["git"], facts["gpus"]) == (None, [])


@pytest.mark.parametrize(("changes", "dirty"), [(" M file", True), ("", False)])
def test_the_state_of_the_checkout_is_what_git_says(monkeypatch: pytest.MonkeyPatch, changes: str, dirty: bool) -> None:
    said = {"rev-parse": "abc", "status": changes}
    monkeypatch.setattr(environment, "_output", lambda *command: said.get(command[3]) if command[0] == "git" else None)
    monkeypatch.setattr(environment.Path, "exists", lambda path: True)
    assert environment.describe([])["git"] == {"commit": "abc", "dirty": dirty}
