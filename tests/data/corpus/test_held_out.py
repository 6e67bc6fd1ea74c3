from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mftcoder.data.corpus.held_out import hold_out


def table(keys, split=None):
    keys = np.array(keys, np.uint64)
    return SimpleNamespace(
        key=keys, split=np.full(len(keys), -1, np.int8) if split is None else np.array(split, np.int8)
    )


KEYS = st.lists(st.integers(0, 2**64 - 1), max_size=60).flatmap(
    lambda keys: st.permutations(keys + keys[: len(keys) // 3])
)


@given(keys=KEYS, seed=st.integers(0, 9), parts=st.sampled_from([[95, 5, 0], [80, 10, 10], [0.5, 0.5, 0], [1, 0, 0]]))
def test_every_row_is_in_one_split_and_equal_content_in_the_same(keys, seed, parts):
    rows = hold_out(table(keys), parts, seed)
    assert sorted(np.concatenate(rows)) == list(range(len(keys)))
    contents = [{keys[row] for row in some} for some in rows]
    assert sum(map(len, contents)) == len(set().union(*contents))
    assert all(list(some) == sorted(some) for some in rows)
    if keys and not parts[2]:
        assert len(rows[2]) == 0
    if keys:
        assert len(rows[0])
    if len(set(keys)) > 1 and parts[1]:
        assert len(rows[1])


def test_the_first_row_is_for_training_and_the_second_for_validation():
    assert [[len(some) for some in hold_out(table(range(n)), [90, 5, 5], 0)] for n in (0, 1, 2, 3)] == [
        [0, 0, 0],
        [1, 0, 0],
        [1, 1, 0],
        [1, 1, 1],
    ]
    assert [len(some) for some in hold_out(table([7, 7, 7]), [50, 25, 25], 0)] == [3, 0, 0]


def test_parts_have_their_sizes():
    rows = hold_out(table(np.random.default_rng(0).integers(0, 2**63, 10_000)), [90, 7, 3], 0)
    assert [len(some) for some in rows] == [9000, 700, 300]


def test_the_seed_chooses_and_order_does_not_matter():
    keys = np.random.default_rng(0).integers(0, 2**63, 1000)
    chosen = {int(keys[row]) for row in hold_out(table(keys), [9, 1, 0], 0)[1]}
    shuffled = keys[::-1]
    assert chosen == {int(shuffled[row]) for row in hold_out(table(shuffled), [9, 1, 0], 0)[1]}
    assert chosen != {int(keys[row]) for row in hold_out(table(keys), [9, 1, 0], 1)[1]}


def test_the_least_valuable_keys_are_not_all_held_out_together():
    rows = hold_out(table(range(1000)), [9, 1, 0], 0)  # keys that do not spread by themselves
    assert rows[1].min() < 200
    assert rows[1].max() > 800


def test_what_the_source_says_is_kept():
    rows = hold_out(table([1, 2, 3, 4], [0, 2, 1, 0]), [50, 50, 0], 0)
    assert [list(some) for some in rows] == [[0, 3], [2], [1]]


def test_both_kinds_of_rows_go_together():
    rows = hold_out(table(range(100), [0] * 20 + [-1] * 80), [90, 10, 0], 0)
    assert set(range(20)) <= set(rows[0].tolist())
    assert [len(some) for some in rows] == [92, 8, 0]
