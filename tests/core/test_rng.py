import random
from typing import Any

import numpy as np
import torch

from mftcoder.core.rng import Generators, seed_all
from mftcoder.storage import serialize


def draw() -> list[Any]:
    return [random.random(), random.gauss(), np.random.rand(), np.random.randn(), torch.rand(3).tolist()]


def stored(state: Any) -> Any:
    return serialize.decode(serialize.encode(state))


def test_all_generators_continue_where_they_were() -> None:
    seed_all(3)
    draw()
    generators = Generators(rank=0, gather=lambda value: [value])
    state = stored(generators.state_dict())
    expected = [draw(), draw()]
    seed_all(4)
    generators.load_state_dict(state)
    assert [draw(), draw()] == expected


def test_each_rank_takes_its_own_and_a_new_rank_keeps_its_seed() -> None:
    states, expected = [], []
    for rank in range(2):
        seed_all(rank)
        states += Generators(rank=0, gather=lambda value: [value]).state_dict()["ranks"]
        expected.append(draw())
    state = stored({"ranks": states})
    for rank in range(2):
        seed_all(9)
        Generators(rank=rank, gather=list).load_state_dict(state)
        assert draw() == expected[rank]
    seed_all(9)
    new = draw()
    seed_all(9)
    Generators(rank=2, gather=list).load_state_dict(state)
    assert draw() == new


def test_seeds_wider_than_numpy_takes_are_fine() -> None:
    seed_all(2**40)
    first = draw()
    seed_all(2**40)
    assert draw() == first
