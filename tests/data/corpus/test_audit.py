"""The audit of a small corpus, against counting by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mftcoder.core.batch import Sample
from mftcoder.core.errors import UserError
from mftcoder.data.corpus.audit import Audit, Subset, histogram, spread
from mftcoder.data.corpus.tables import Corpus

FATES = {"read": 10, "used": 6, "cut": 1, "split": 0, "dropped": 2, "empty": 1, "malformed": 1}


class InMemory:
    """A split of ids and masks, [task][sample]."""

    def __init__(self, samples: Sequence[Sequence[tuple[list[int], str]]]) -> None:
        self.samples = samples

    def num_samples(self, task: int) -> int:
        return len(self.samples[task])

    def sample(self, task: int, index: int) -> Sample:
        ids, mask = self.samples[task][index]
        return Sample(np.array(ids, np.int32), np.array([m == "x" for m in mask]), task, index)

    def lengths(self, task: int) -> NDArray[np.int32]:
        return np.array([len(ids) for ids, _ in self.samples[task]], np.int32)

    def supervised(self, task: int) -> NDArray[np.int32]:
        return np.array([mask.count("x") for _, mask in self.samples[task]], np.int32)


ONE, TWO, THREE = ([1, 2, 3], ".xx"), ([4, 5, 6, 7, 8], ".x.xx"), ([9] * 9, "." + "x" * 8)


def corpus(train: Any = ((ONE, TWO, ONE), (TWO,)), valid: Any = ((ONE,), (THREE,)), **records: int) -> Corpus:
    parts: list[Any] = [InMemory(train), InMemory(valid), InMemory(((), ()))]
    report = {"code": FATES | records, "talk": FATES | {"read": 2, "dropped": 0, "empty": 0}}
    return Corpus(["code", "talk"], [1.0, 1.0], *parts, report=report)


def audit(**changes: Any) -> Audit:
    thresholds = {"max_lost_fraction": None, "max_duplicate_fraction": None, "max_leaked_fraction": None}
    return Audit(**{"near_duplicates": None, "num_compared": 10, **thresholds, **changes})


def test_the_report_counts_everything_once() -> None:
    report = audit(near_duplicates=0.8).report(corpus())
    assert report["code"] == {
        "records": FATES,
        "train": {"samples": 3, "tokens": 11, "targets": 7},
        "valid": {"samples": 1, "tokens": 3, "targets": 2},
        "test": {"samples": 0, "tokens": 0, "targets": 0},
        "tokens": {"median": 3, "p95": 3, "max": 5, "at_most": {"4": 3, "8": 1}},
        "answers": {"median": 1, "p95": 1, "max": 2, "at_most": {"1": 3, "2": 1}},
        "duplicates": {
            "exact": {"within": 1, "across": 1, "leaked": 1},
            "near": {"within": 1, "across": 1, "leaked": 1},
        },
    }
    assert report["talk"]["duplicates"]["exact"] == {"within": 0, "across": 1, "leaked": 0}
    assert report["talk"]["tokens"] == {"median": 5, "p95": 5, "max": 9, "at_most": {"8": 1, "16": 1}}


def test_a_histogram_has_a_bin_for_each_power_of_two() -> None:
    values = [np.array([0, 1, 2, 3, 4, 1000], np.int32), np.array([], np.int32), np.array([5, 8, 9], np.int32)]
    assert histogram(values)["at_most"] == {"0": 1, "1": 1, "2": 1, "4": 2, "8": 2, "16": 1, "1024": 1}
    assert histogram([np.array([], np.int32)]) == histogram([]) == {"median": 0, "p95": 0, "max": 0, "at_most": {}}


@given(st.lists(st.lists(st.integers(0, 300), max_size=40), min_size=1, max_size=3).filter(any))
def test_quantiles_are_those_of_all_values(values: list[list[int]]) -> None:
    found = histogram([np.array(some, np.int32) for some in values])
    expected = np.quantile([value for some in values for value in some], [0.5, 0.95, 1.0], method="lower")
    assert [found["median"], found["p95"], found["max"]] == expected.tolist()
    assert sum(found["at_most"].values()) == sum(map(len, values))


def test_nothing_is_refused_without_thresholds() -> None:
    audit().check(audit().report(corpus()))


def test_all_that_is_above_a_threshold_is_refused_at_once() -> None:
    strict = audit(max_lost_fraction=0.2, max_duplicate_fraction=0.0, max_leaked_fraction=0.5)
    with pytest.raises(UserError) as error:
        strict.check(strict.report(corpus()))
    assert str(error.value).splitlines() == [
        "The audit refuses these data:",
        "  code: 3 of 10 records are lost (too long, or nothing to learn); allowed: audit.max_lost_fraction=0.2",
        "  code: 1 of 4 samples repeat one before; allowed: audit.max_duplicate_fraction=0.0",
        "  code: 1 of 1 held-out samples are in training data; allowed: audit.max_leaked_fraction=0.5",
    ]


@pytest.mark.parametrize("number", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("size", [0, 1, 3, 7])
def test_some_are_spread_evenly(size: int, number: int) -> None:
    chosen = spread(size, number).tolist()
    assert len(set(chosen)) == len(chosen) == min(size, number)
    assert all(0 <= index < size for index in chosen)
    assert np.ptp(np.diff(chosen)) <= 1 if len(chosen) > 2 else True


def test_some_samples_know_their_places() -> None:
    made = corpus(train=(tuple([ONE] * 7), (TWO, THREE)), valid=((ONE,), ()))
    some = Subset.of((made.train, made.valid, made.test), 2, 3)
    assert [list(where) for where in (some.places.task, some.places.split)] == [[0] * 3 + [1] * 2 + [0], [0] * 5 + [1]]
    assert [len(ids) for ids in some.ids()] == [3, 3, 3, 5, 9, 3]
