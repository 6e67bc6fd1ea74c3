import json
from dataclasses import replace
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_split import memory_split, natural, skewed

from mftcoder.core.errors import UserError
from mftcoder.data.stream.shares import Shares
from mftcoder.data.stream.stream import Stream

LENGTHS = st.lists(st.lists(st.integers(1, 64), max_size=25), min_size=1, max_size=4).filter(any)


def epoch_of(stream):
    """The packs of what is left of this epoch."""
    packs = []
    while not stream.finished:
        packs.append(stream.draw())
    return packs


def worst(packs, shares, by_tokens=True):
    """The largest departure from the shares in any 50 packs in a row."""
    drawn = np.zeros((len(packs) + 1, len(shares)))
    for i, pack in enumerate(packs, start=1):
        for sample in pack:
            drawn[i, sample.task] += sample.length if by_tokens else 1
    spans = drawn.cumsum(0)[50:] - drawn.cumsum(0)[:-50]
    return np.abs(spans / spans.sum(1, keepdims=True) - shares).max()


@given(lengths=LENGTHS, seed=st.integers(0, 99), ahead=st.integers(1, 40), alone=st.booleans())
@settings(deadline=None)
def test_an_epoch_of_natural_shares_holds_every_sample_once(lengths, seed, ahead, alone):
    split = memory_split(lengths)
    stream = Stream(split, natural(split, seed=seed, look_ahead=ahead, one_per_pack=alone))
    everything = sorted((task, row, n) for task, some in enumerate(lengths) for row, n in enumerate(some))
    for epoch in range(3):
        packs = epoch_of(stream)
        assert sorted(tuple(sample) for pack in packs for sample in pack) == everything, epoch
        assert all(sum(sample.length for sample in pack) <= 64 for pack in packs)
        assert all(len(pack) == 1 for pack in packs if alone)
        stream.next_epoch()


@given(lengths=LENGTHS, seed=st.integers(0, 9), before=st.integers(0, 60))
@settings(deadline=None, max_examples=30)
def test_a_resumed_stream_goes_on_as_if_it_had_never_stopped(lengths, seed, before):
    split = memory_split(lengths)

    def draw(stream):
        if stream.finished:
            stream.next_epoch()
        return stream.draw()

    one = Stream(split, natural(split, seed=seed))
    for _ in range(before):
        draw(one)
    other = Stream(split, natural(split, seed=seed))
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    for _ in range(80):
        assert draw(one) == draw(other)
    assert one.state_dict() == other.state_dict()


@pytest.mark.parametrize("shares", [[0.2] * 5, [0.5, 0.2, 0.15, 0.1, 0.05], [0.9, 0.025, 0.025, 0.025, 0.025]])
@pytest.mark.parametrize("room", [1024, 4096])
def test_shares_of_tokens_hold_over_any_fifty_packs(shares, room):
    split = memory_split([skewed(task, 1500, 1000) for task in range(5)])
    recipe = natural(split, shares=Shares([(0.0, shares)], [inf] * 5), capacity=room, look_ahead=128, epoch_size=1e9)
    stream = Stream(split, recipe)
    packs = [stream.draw() for _ in range(600)]
    assert worst(packs, shares) <= 0.01
    fill = np.mean([sum(sample.length for sample in pack) for pack in packs]) / room
    assert fill > {1024: 0.985, 4096: 0.99}[room]


@st.composite
def mixtures(draw):
    """Shares of two to six tasks, and the lengths of each: spread in one of two ways up to a top, or all the same."""
    tops = draw(st.lists(st.integers(4, 512), min_size=2, max_size=6))
    parts = np.array(draw(st.lists(st.integers(1, 100), min_size=len(tops), max_size=len(tops))))
    random = np.random.default_rng(draw(st.integers(0, 999)))

    def lengths(top):
        kind = draw(st.sampled_from(["even", "skewed", "same"]))
        if kind == "same":
            return [top // 4] * 500  # of longer ones whole packs do not give every share
        spread = random.integers(1, top + 1, 500) if kind == "even" else random.lognormal(np.log(top / 7), 0.6, 500)
        return spread.clip(1, top).astype(int).tolist()

    return (parts / parts.sum()).tolist(), [lengths(top) for top in tops]


@given(mixture=mixtures(), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_any_shares_of_any_number_of_tasks_hold(mixture, seed):
    shares, lengths = mixture
    split = memory_split(lengths)
    endless = Shares([(0.0, shares)], [inf] * len(shares))
    stream = Stream(split, natural(split, shares=endless, capacity=512, look_ahead=128, epoch_size=1e9, seed=seed))
    assert worst([stream.draw() for _ in range(150)], shares) <= 0.01


def test_a_task_that_alone_fills_up_packs_gets_no_more_than_its_share():
    split = memory_split([[length] * 300 for length in (118, 216, 77, 99)])
    shares = [0.104, 0.585, 0.008, 0.303]
    stream = Stream(split, natural(split, shares=Shares([(0.0, shares)], [inf] * 4), capacity=512, epoch_size=1e9))
    assert worst([stream.draw() for _ in range(100)], shares) <= 0.01


def test_they_hold_too_over_the_end_of_an_epoch():
    split = memory_split([skewed(task, n, 1000) for task, n in enumerate([300, 200, 100])])
    recipe = natural(split, capacity=1024, look_ahead=128)
    stream = Stream(split, recipe)
    packs = epoch_of(stream)
    stream.next_epoch()
    packs += epoch_of(stream)
    assert worst(packs, recipe.shares.rates(0)) <= 0.01


def test_shares_of_samples_hold_over_any_fifty_packs():
    split = memory_split([skewed(0, 900, 1000), skewed(1, 900, 250)])
    unit = (split.num_tokens(0) + split.num_tokens(1)) / 1800
    recipe = natural(
        split, shares=Shares([(0.0, [0.3, 0.7])], [inf, inf]), tokens_per_sample=unit, capacity=1024, look_ahead=128
    )
    stream = Stream(split, replace(recipe, epoch_size=1000.0))
    packs = epoch_of(stream)
    assert worst(packs, [0.3, 0.7], by_tokens=False) <= 0.01
    tasks = [sample.task for pack in packs for sample in pack]
    assert len(tasks) == pytest.approx(1000, abs=1)
    assert tasks.count(0) == pytest.approx(300, abs=1)


def test_stages_change_the_shares_at_their_totals():
    split = memory_split([skewed(task, 500, 100) for task in range(2)])
    shares = Shares([(0.0, [0.8, 0.2]), (20_000.0, [0.1, 0.9])], [inf, inf])
    stream = Stream(split, natural(split, shares=shares, capacity=256, epoch_size=40_000.0))
    for total, due in ((20_000, [16_000, 4_000]), (40_000, [18_000, 22_000])):
        while sum(stream.drawn) < total and not stream.finished:
            stream.draw()
        assert stream.drawn == pytest.approx(due, abs=300)


def test_a_task_that_has_run_out_is_drawn_no_more_and_all_run_out_in_the_end():
    split = memory_split([[10] * 4, [10] * 10])
    shares = Shares([(0.0, [0.5, 0.5])], [40, 200])
    stream = Stream(split, natural(split, shares=shares, epoch_size=140.0))
    first = [sample.task for pack in epoch_of(stream) for sample in pack]
    assert (first.count(0), first.count(1)) == (4, 10)
    assert not stream.exhausted
    stream.next_epoch()
    assert [sample.task for pack in epoch_of(stream) for sample in pack] == [1] * 10
    assert stream.exhausted
    with pytest.raises(UserError, match="repeat allows"):
        stream.next_epoch()


def test_the_oldest_sample_is_never_overtaken_by_more_than_the_look_ahead():
    split = memory_split([skewed(0, 400, 60)])
    stream = Stream(split, natural(split, look_ahead=16))
    order = stream.look_aheads[0].shuffle
    place = {order.row(position): position for position in range(400)}
    at = [place[sample.row] for pack in epoch_of(stream) for sample in pack]
    assert all(position < min(at[i:]) + 16 for i, position in enumerate(at))
