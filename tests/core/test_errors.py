"""Errors that are messages: how many faults they say, and what is left of them between processes."""

from __future__ import annotations

import pickle

from mftcoder.core.errors import ConfigError, Preempted, Refused, UserError


def test_faults_are_counted_and_stand_on_lines_of_their_own() -> None:
    assert str(ConfigError(["a: 1 is not b"])) == "1 fault in the configuration:\n  a: 1 is not b"
    assert str(ConfigError(["a", "b"])).splitlines() == ["2 faults in the configuration:", "  a", "  b"]


def test_the_faults_survive_the_way_between_processes() -> None:
    sent = pickle.loads(pickle.dumps(ConfigError(["a", "b"])))
    assert (sent.faults, str(sent)) == (["a", "b"], str(ConfigError(["a", "b"])))


def test_what_ends_a_process_has_the_code_that_schedulers_know() -> None:
    stop = Preempted("stopped after step 3")
    assert (stop.code, stop.message, stop.together) == (85, "stopped after step 3", True)
    refused = Refused(UserError("data: none"))
    assert (refused.code, str(refused)) == (2, "data: none")
