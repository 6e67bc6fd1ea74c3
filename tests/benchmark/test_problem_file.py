"""Problems from files of each shape."""

import gzip
import json

import pytest

from mftcoder.benchmark.problem_file import ProblemFile
from mftcoder.core.errors import UserError
from mftcoder.evaluation.benchmark_evaluation import program

HUMAN_EVAL = {
    "task_id": "A/1",
    "prompt": 'import math\n\ndef two():\n    """The number 2."""\n',
    "test": "def check(f):\n    assert f() == 2",
    "entry_point": "two",
    "canonical_solution": "    return 2\n",
}
MBPP = {"task_id": 7, "text": "Write two().", "code": "def two(): return 2", "test_list": ["assert two() == 2"]}


def read(path, records, **changes):
    text = "".join(json.dumps(record) + "\n" for record in records)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    settings = {"limit": None, "prompting": "raw", "instruction": "{prompt}", "stop": [], **changes}
    benchmark = ProblemFile(path=str(path), **settings)
    return benchmark, benchmark.problems()


def passes(text: str) -> bool:
    try:
        exec(text, {})
    except Exception:
        return False
    return True


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_references_pass_and_others_do_not(tmp_path, suffix):
    benchmark, problems = read(tmp_path / f"mixed.{suffix}", [HUMAN_EVAL, MBPP])
    assert benchmark.name == "mixed"
    assert [problem.key for problem in problems] == ["A/1", "7"]
    for problem in problems:
        assert passes(program(problem, problem.reference, raw=True))
        assert not passes(program(problem, problem.reference.replace("2", "3"), raw=True))


def test_an_answer_in_a_block_may_be_the_whole_function_or_its_body(tmp_path):
    _, [problem, other] = read(tmp_path / "a.jsonl", [HUMAN_EVAL, MBPP])
    whole = "Here:\n```python\ndef two():\n    return math.floor(2.5)\n```\n"
    assert passes(program(problem, whole, raw=False))
    assert passes(program(problem, "```python\n    return 2\n```", raw=False))
    assert not passes(program(problem, "I do not know.", raw=False))
    assert passes(program(other, "```\ndef two(): return 2\n```", raw=False))


def test_longer_tests_of_evalplus_and_set_up_code_are_run(tmp_path):
    plus = {**MBPP, "test": "assert two() == two() == 2 + ZERO", "test_setup_code": "ZERO = 0"}
    _, [problem] = read(tmp_path / "a.jsonl", [plus])
    assert "ZERO = 0\nassert two() == two()" in problem.tests
    assert passes(program(problem, problem.reference, raw=True))


def test_all_lines_that_are_no_problem_are_named(tmp_path):
    with pytest.raises(UserError, match=r"a\.jsonl:2: its keys \(x\) are no problem's(.|\n)*a\.jsonl:3: a JSON list"):
        read(tmp_path / "a.jsonl", [MBPP, {"x": 1}, [1]])
    with pytest.raises(UserError, match="two problems have one task_id"):
        read(tmp_path / "a.jsonl", [MBPP, MBPP])
    with pytest.raises(UserError, match=r"absent\.jsonl: no such file"):
        ProblemFile(path="absent.jsonl", limit=None, prompting="raw", instruction="{prompt}", stop=[]).problems()
