import json
import time
from collections import Counter
from itertools import chain
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_split import memory_split, natural, skewed

from mftcoder.core.errors import UserError
from mftcoder.data.corpus.tables import Split
from mftcoder.data.stream.epoch import Inventory, epoch_size
from mftcoder.data.stream.sampler import Sampler, spread
from mftcoder.data.stream.shares import Shares, complete

LENGTHS = [skewed(0, 60, 60), skewed(1, 30, 60), skewed(2, 7, 60)]


@pytest.fixture
def split(tmp_path):
    return memory_split(LENGTHS, tmp_path)


def sampler(split, *, packs_per_step=4, stratified=False, **changes):
    return Sampler(split, natural(split, **changes), packs_per_step=packs_per_step, stratified=stratified)


def samples(steps):
    return [sample for packs in steps for pack in packs for sample in pack]


EVERYTHING = sorted((task, row) for task, some in enumerate(LENGTHS) for row in range(len(some)))


@pytest.mark.parametrize("packs_per_step", [1, 3, 4, 16])
def test_the_steps_of_an_epoch_hold_every_sample_once(split, packs_per_step):
    one = sampler(split, packs_per_step=packs_per_step)
    for number in (1, 2):
        steps = [one.take() for _ in range(one.steps(number) - one.steps(number - 1))]
        assert all(len(packs) == packs_per_step and all(packs) for packs in steps)
        assert sorted(samples(steps)) == EVERYTHING
        assert one.epoch == number


@pytest.mark.parametrize("packs_per_step", [1, 4, 16])
def test_packs_of_one_sample_run_on_into_the_next_epoch(split, packs_per_step):
    one = sampler(split, packs_per_step=packs_per_step, one_per_pack=True)
    stream = samples(one.take() for _ in range(one.steps(2)))
    assert sorted(stream[:97]) == sorted(stream[97:194]) == EVERYTHING
    assert len(stream) - 194 < packs_per_step


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_ranks_that_each_keep_their_part_see_together_what_one_sees(tmp_path, ranks):
    split = memory_split(LENGTHS, tmp_path)
    alone = sampler(split, packs_per_step=24)
    together = [sampler(memory_split(LENGTHS, tmp_path), packs_per_step=24) for _ in range(ranks)]
    for _ in range(5):
        parts = [one.take()[rank * 24 // ranks : (rank + 1) * 24 // ranks] for rank, one in enumerate(together)]
        assert list(chain(*parts)) == alone.take()


def test_the_size_of_a_step_does_not_change_the_stream(split):
    ones = {n: sampler(split, packs_per_step=n) for n in (1, 2, 4)}
    streams = [samples([one.take() for _ in range(12 // n)]) for n, one in ones.items()]
    assert streams[0] == streams[1] == streams[2]


@given(before=st.integers(0, 40), stratified=st.booleans())
@settings(deadline=None, max_examples=20)
def test_a_resumed_sampler_goes_on_as_if_it_had_never_stopped(tmp_path_factory, before, stratified):
    split = memory_split(LENGTHS, tmp_path_factory.mktemp("cache"))
    one, other = (sampler(split, stratified=stratified) for _ in range(2))
    for _ in range(before):
        one.take()
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert [one.take() for _ in range(20)] == [other.take() for _ in range(20)]
    assert one.epoch == other.epoch


def renamed(split, order):
    """The same split with its tasks in another order."""
    return Split(
        [split.tasks[i] for i in order],
        [split._tables[i] for i in order],
        [split._rows[i] for i in order],
        split.cache_dir,
    )


def test_tasks_in_another_order_keep_their_cursors_and_their_shuffle(split):
    one = sampler(split)
    for _ in range(4):
        one.take()
    other = sampler(renamed(split, [2, 0, 1]))
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert other.state_dict() == one.state_dict()
    before = one.steps(1.0)
    rest = [
        Counter((s.tasks[task], row) for task, row in samples(o.take() for _ in range(before - 4)))
        for s, o in ((split, one), (other._split, other))
    ]
    assert rest[0] == rest[1]
    assert other.epoch == one.epoch == 1.0


def test_state_of_an_earlier_version_without_names_is_taken_by_order(split):
    one, other = sampler(split), sampler(split)
    one.take()
    other.load_state_dict({key: value for key, value in one.state_dict().items() if key != "tasks"})
    assert one.take() == other.take()


def test_state_of_other_tasks_is_refused(split):
    with pytest.raises(UserError, match=r"had the tasks .*task0.*, these have .*task2"):
        sampler(split).load_state_dict(sampler(memory_split([[1]])).state_dict())


@pytest.mark.parametrize("epochs", [0.5, 1.0, 1.25, 3.0])
def test_steps_are_counted_as_they_come(split, epochs):
    one = sampler(split)
    steps = one.steps(epochs)
    for _ in range(steps):
        one.take()
    assert one.epoch == pytest.approx(epochs, abs=0.12)
    assert (one.epoch == epochs) or epochs % 1


def test_steps_are_counted_once(split, monkeypatch):
    expected = sampler(split).steps(2)
    monkeypatch.setattr(Sampler, "take", lambda self: pytest.fail("counted again"))
    assert sampler(split).steps(2) == expected


@pytest.mark.parametrize("changes", [{"seed": 1}, {"capacity": 80}, {"look_ahead": 2}, {"packs_per_step": 5}])
def test_other_settings_are_counted_anew(split, monkeypatch, changes):
    sampler(split).steps(1)
    monkeypatch.setattr(Sampler, "take", lambda self: pytest.fail("counted"))
    with pytest.raises(pytest.fail.Exception, match="counted"):
        sampler(split, **changes).steps(1)


def test_steps_end_with_what_tasks_may_be_repeated(split):
    tokens = [split.num_tokens(task) for task in range(3)]
    shares = Shares([(0.0, [n / sum(tokens) for n in tokens])], [2 * n for n in tokens])
    one = sampler(split, shares=shares)
    steps = one.steps(5)
    assert steps == one.steps(2) == sampler(split).steps(2)
    for _ in range(steps):
        one.take()
    with pytest.raises(UserError, match="repeat allows"):
        one.take()


def repeated(split, times, **changes):
    tokens = [split.num_tokens(task) for task in range(split.num_tasks)]
    shares = Shares([(0.0, [n / sum(tokens) for n in tokens])], [times * n for n in tokens])
    return sampler(split, shares=shares, **changes)


@pytest.mark.parametrize("times", [1, 2.5])
@pytest.mark.parametrize("one_per_pack", [True, False])
def test_steps_are_clipped_to_what_the_stream_gives(split, times, one_per_pack):
    one = repeated(split, times, one_per_pack=one_per_pack)
    most = one.clipped(10_000)
    assert 0 < most == one.clipped(most + 1) < 10_000
    assert one.clipped(most - 1) == most - 1
    for _ in range(most):
        one.take()
    with pytest.raises(UserError, match="repeat allows"):
        one.take()


def test_steps_of_an_endless_stream_are_not_clipped_nor_counted(split, monkeypatch):
    monkeypatch.setattr(Sampler, "take", lambda self: pytest.fail("counted"))
    assert sampler(split).clipped(10**9) == 10**9
    assert repeated(split, 10**9).clipped(10**4) == 10**4


def test_a_last_step_that_cannot_be_filled_is_not_counted(tmp_path):
    split = memory_split([[9] * 7], tmp_path)
    assert repeated(split, 1, one_per_pack=True, packs_per_step=3).steps(1) == 2
    assert repeated(split, 1, one_per_pack=True, packs_per_step=8).clipped(5) == 0


@pytest.mark.parametrize("reduction", ["token", "sample"])
@pytest.mark.parametrize("shares", [None, [0.2, 0.3, 0.5]])
@pytest.mark.parametrize("of_samples", [False, True])
def test_expected_counts_are_what_steps_hold_on_average(split, reduction, shares, of_samples):
    changes = {}
    if of_samples:
        changes = {"tokens_per_sample": sum(map(sum, LENGTHS)) / 97, "epoch_size": 97.0}
        shares = shares or [60 / 97, 30 / 97, 7 / 97]
    if shares:
        changes["shares"] = Shares([(0.0, shares)], [inf] * 3)
    one = sampler(split, **changes)
    seen = np.zeros(3)
    steps = one.steps(4)
    for task, row in samples(one.take() for _ in range(steps)):
        seen[task] += LENGTHS[task][row] // 2 if reduction == "token" else 1
    assert one.expected_counts(reduction) == pytest.approx(seen / steps, rel=0.12)


@pytest.mark.parametrize(("packs_per_step", "one_per_pack"), [(1, False), (2, False), (5, False), (3, True), (7, True)])
@pytest.mark.parametrize("by_tokens", [True, False])
def test_stratified_steps_hold_every_task(tmp_path, packs_per_step, one_per_pack, by_tokens):
    split = memory_split([skewed(0, 300, 60), skewed(1, 40, 20), skewed(2, 3, 15)], tmp_path)
    sizes = Inventory(split, by_tokens=by_tokens)
    wanted = sizes.stratified(
        complete([None] * 3, sizes.amounts, 1.0),
        samples=packs_per_step if one_per_pack else None,
        tokens=packs_per_step * 62,
    )
    shares = Shares([(0.0, wanted)], [inf] * 3)
    total = epoch_size(shares, sizes, "all_exhausted", None)
    changes = {
        "one_per_pack": one_per_pack,
        "shares": shares,
        "epoch_size": total,
        "tokens_per_sample": sizes.tokens_per_sample,
    }
    one = sampler(split, packs_per_step=packs_per_step, stratified=True, **changes)
    seen = Counter()
    for _ in range(one.steps(2)):
        packs = one.take()
        assert {task for pack in packs for task, _ in pack} == {0, 1, 2}
        assert all(sum(len_of(split, sample) for sample in pack) <= 64 for pack in packs)
        seen.update(samples([packs]))
    assert len(seen) == 343
    drawn = np.zeros(3)
    for sample, times in seen.items():
        drawn[sample[0]] += times * (len_of(split, sample) if by_tokens else 1)
    assert drawn / drawn.sum() == pytest.approx(wanted, abs=0.03)


def len_of(split, sample):
    return int(split.lengths(sample[0])[sample[1]])


def test_a_step_that_cannot_hold_every_task_says_so(split):
    one = sampler(memory_split([[60] * 9, [60] * 9]), packs_per_step=1, stratified=True)
    with pytest.raises(UserError, match="no room"):
        one.take()


def test_a_step_without_room_is_found_before_the_run(tmp_path):
    """Two tasks in one pack of 64: most of their samples fit together, but not those at the end of the look-ahead."""
    split = memory_split([[20] * 30 + [60] * 3, [20] * 40], tmp_path)
    one = sampler(split, packs_per_step=1, stratified=True, look_ahead=1)
    with pytest.raises(UserError, match="no room"):
        one.clipped(1000)
    assert one.clipped(1) == 1
    fits = sampler(memory_split([[30] * 9, [34] * 9]), packs_per_step=1, stratified=True)
    assert fits.clipped(10**9) == 10**9  # needs no simulation


@pytest.mark.parametrize("packs_per_step", [3, 4])
def test_as_many_packs_as_tasks_hold_every_task_however_long(packs_per_step):
    """Every sample fills most of a pack, so that no two fit into one; also where an epoch ends within a step."""
    one = sampler(memory_split([[55] * 31, [59] * 7, [60] * 2]), packs_per_step=packs_per_step, stratified=True)
    for _ in range(60):
        assert {task for task, _ in samples([one.take()])} == {0, 1, 2}


def test_few_samples_are_repeated_rather_than_leave_packs_empty(tmp_path):
    one = sampler(memory_split([[9, 8]], tmp_path), packs_per_step=5)
    assert one.steps(4) == 2
    assert Counter(samples([one.take(), one.take()])) == {(0, 0): 6, (0, 1): 6}


def test_spread_divides_the_packs_with_most_samples():
    packs = [[1, 2, 3], [4]]
    assert spread(packs, 3)
    assert sorted(map(len, packs)) == [1, 1, 2]
    assert not spread(packs, 9)


def test_resuming_far_into_a_large_split_takes_no_longer_than_starting(tmp_path):
    lengths = np.random.default_rng(0).integers(20, 400, 1_000_000)
    split = memory_split([lengths[:700_000], lengths[700_000:]], tmp_path)
    one = sampler(split, capacity=1024)
    began = time.process_time()
    one.take()
    start = time.process_time() - began
    state = {"epoch": 0, "cursors": [28_000, 12_000], "taken": ["0x0", "0x6"], "past": [[5_880_000, 2_520_000]]}
    other = sampler(split, capacity=1024)
    began = time.process_time()
    other.load_state_dict(state)
    other.take()
    assert time.process_time() - began < start + 1
