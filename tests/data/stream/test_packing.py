import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mftcoder.core.errors import UserError
from mftcoder.data.stream.look_ahead import Candidate, LookAhead
from mftcoder.data.stream.packing import Packer
from mftcoder.data.stream.shuffle import Shuffle


class Listed(Shuffle):
    """Samples in the order of their rows, so that tests can name them."""

    def __init__(self, lengths):
        self.size = len(lengths)
        self.lengths = lengths

    def row(self, position):
        return position % self.size

    def length(self, position):
        return self.lengths[position % self.size]


def window(lengths, look_ahead=100):
    made = LookAhead(Listed(lengths), look_ahead)
    made.seek(0, 0, len(lengths))
    return made


def packed(windows, capacity, *, deficits=None, rates=None, tokens_per_sample=None, overdraft=1e9):
    rates = rates or [1 / len(windows)] * len(windows)
    packer = Packer(windows, deficits or [0.0] * len(windows), rates, tokens_per_sample, overdraft)
    packer.fill(capacity)
    return [(drawn.task, drawn.row) for drawn in packer.pack]


def test_a_window_sees_so_many_positions_from_the_oldest_untaken():
    seen = window([5, 3, 9, 1, 7], look_ahead=3)
    assert [entry.position for entry in sorted(seen.candidates, key=lambda e: e.position)] == [0, 1, 2]
    seen.take(Candidate(3, 1))
    assert {entry.position for entry in seen.candidates} == {0, 2}
    assert (seen.cursor, seen.taken) == (0, 0b10)
    seen.take(Candidate(5, 0))
    assert {entry.position for entry in seen.candidates} == {2, 3, 4}
    assert (seen.cursor, seen.taken, seen.head) == (2, 0, (9, 2))


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=30), ahead=st.integers(1, 8), data=st.data())
def test_cursor_and_taken_restore_a_window(lengths, ahead, data):
    one = window(lengths, ahead)
    for _ in range(data.draw(st.integers(0, len(lengths)))):
        one.take(data.draw(st.sampled_from(one.candidates)))
    other = LookAhead(one.shuffle, ahead)
    other.seek(one.cursor, one.taken, one.end)
    assert (other.candidates, other.head, other.seen) == (one.candidates, one.head, one.seen)


def test_a_copy_goes_its_own_way():
    one = window([2, 3])
    one.copy().take(Candidate(2, 0))
    assert one.candidates == [(2, 0), (3, 1)]


def test_the_task_that_deficits_most_is_drawn_first():
    assert packed([window([30] * 3), window([30] * 3)], 60, deficits=[0.0, 90.0])[0] == (1, 0)


def test_a_long_sample_waits_until_half_of_it_is_due():
    long, short = window([50]), window([10] * 9)
    assert packed([long, short], 50, deficits=[0.0, 0.0])[0] == (1, 0)
    assert packed([window([50]), window([10] * 9)], 50, deficits=[40.0, 0.0]) == [(0, 0)]


def test_the_end_of_a_pack_is_filled_with_what_fits_best():
    assert packed([window([60, 39, 38, 40, 41])], 100) == [(0, 0), (0, 3)]


def test_a_full_pack_is_no_reason_to_give_a_task_ever_more():
    def windows():
        return [window([60] * 3), window([30] * 3)]

    assert packed(windows(), 100, deficits=[50.0, -50.0]) == [(0, 0), (1, 0)]
    assert packed(windows(), 100, deficits=[50.0, -50.0], overdraft=10.0) == [(0, 0)]
    assert packed([window([100] * 2)], 100, deficits=[-50.0], overdraft=40.0) == [(0, 0)]  # an empty pack helps nobody


def test_samples_are_not_drawn_for_a_task_without_share_while_others_have_any():
    windows = [window([10] * 3), window([10] * 2)]
    assert packed(windows, 20, deficits=[0.0, 99.0], rates=[1.0, 0.0]) == [(0, 0), (0, 1)]
    assert packed(windows, 100, rates=[1.0, 0.0]) == [(0, 2), (1, 0), (1, 1)]


def test_shares_of_samples_count_samples():
    short, long = window([1] * 40), window([10] * 40)
    tasks = [task for task, _ in packed([short, long], 110, tokens_per_sample=5.5)]
    assert abs(tasks.count(0) - tasks.count(1)) <= 1


@given(
    lengths=st.lists(st.lists(st.integers(1, 64), max_size=20), min_size=1, max_size=4),
    capacity=st.integers(64, 200),
    ahead=st.integers(1, 30),
)
def test_packs_hold_every_sample_once_and_never_too_much(lengths, capacity, ahead):
    windows = [window(n, ahead) if n else LookAhead(Listed([]), ahead) for n in lengths]
    seen = []
    while any(w.candidates for w in windows):
        pack = packed(windows, capacity)
        assert pack
        assert sum(lengths[task][row] for task, row in pack) <= capacity
        seen += pack
    assert sorted(seen) == [(task, row) for task, n in enumerate(lengths) for row in range(len(n))]


def test_required_tasks_come_first_and_leave_room_for_each_other():
    packer = Packer([window([90, 20]), window([70, 5])], [0.0, 0.0], [0.5, 0.5], None, 1.0)
    capacity = packer.require([0, 1], 100)
    assert [(drawn.task, drawn.length) for drawn in packer.pack] == [(0, 20), (1, 5)]
    assert capacity == 75


def test_a_required_task_that_deficits_much_gives_its_oldest():
    packer = Packer([window([90, 20])], [80.0], [0.5], None, 1.0)
    packer.require([0], 100)
    assert packer.pack[0].length == 90


def test_required_tasks_without_room_are_refused():
    with pytest.raises(UserError, match=r"no room .* larger"):
        Packer([window([60]), window([60])], [0.0, 0.0], [0.5, 0.5], None, 1.0).require([0, 1], 100)


def test_fill_is_near_the_best_possible_for_lengths_as_of_real_dialogues():
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(5, 0.6, 4000), 40, 1000).astype(int).tolist()
    one, packs, drawn = window(lengths, 128), 0, 0
    while one.candidates:
        pack = packed([one], 1024)
        packs, drawn = packs + 1, drawn + sum(lengths[row] for _, row in pack)
    assert drawn == sum(lengths)
    assert drawn / (1024 * packs) > 0.98
