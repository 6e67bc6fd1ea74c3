"""One rank's part of a global batch and of a validation set."""

import numpy as np
import pytest

from mftcoder.core.batch import Sample
from mftcoder.data.stream.micro_batches import MicroBatcher, grouped


class Samples:
    """Sample (task, index) has index + 2 tokens, and the first of them says which it is."""

    def sample(self, task: int, index: int) -> Sample:
        ids = np.full(index + 2, 100 * task + index, np.int32)
        return Sample(ids, np.ones(index + 2, bool), task, index)


def batcher(rank: int = 0, ranks: int = 1, mode: str = "pack") -> MicroBatcher:
    return MicroBatcher(padding_mode=mode, pad_id=0, rank=rank, ranks=ranks)


PACKS = [[(0, 0), (1, 0)], [(0, 1)], [(1, 1)], [(0, 2), (0, 3)]]


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_ranks_divide_a_step_among_them(ranks):
    own = [batcher(rank, ranks).of_step(PACKS, Samples(), 2) for rank in range(ranks)]
    taken = [[(s.task, s.index) for s in micro_batch] for of_rank in own for micro_batch in of_rank]
    assert taken == [[(0, 0), (1, 0), (0, 1)], [(1, 1), (0, 2), (0, 3)]]


def test_by_task_every_sample_is_there_once_in_no_larger_batches():
    micro_batches = batcher().of_step(PACKS, Samples(), 2)
    batches = batcher().by_task(micro_batches, 3)
    assert [[b.tasks.tolist() for b in own] for own in batches] == [[[0, 0, 0], [0]], [[1, 1]], []]
    most = max(sum(map(len, samples)) for samples in micro_batches)
    assert all(int(b.lengths.sum()) <= most for own in batches for b in own)


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_a_set_is_seen_once_and_idle_ranks_repeat_a_batch_without_targets(ranks):
    references = [(task, index) for task in range(2) for index in range(3)]
    own = [
        list(batcher(rank, ranks).once(references, lambda r: r[1] + 2, Samples(), tokens=5)) for rank in range(ranks)
    ]
    assert len({len(batches) for batches in own}) == 1, "every rank runs equally often"
    used = [b for batches in own for b in batches if b.supervised.any()]
    seen = sorted(int(ids) for b in used for ids in b.input_ids.unique())
    assert seen == [100 * task + index for task, index in references]
    assert all((b.labels == -100).all() for batches in own for b in batches if not b.supervised.any())


@pytest.mark.parametrize(
    ("tokens", "number", "groups"),
    [
        (5, None, [[3, 2], [4], [9], [1, 1, 1]]),  # one item may be longer than the budget
        (5, 2, [[3, 2], [4], [9], [1, 1], [1]]),
        (100, None, [[3, 2, 4, 9, 1, 1, 1]]),
        (1, 1, [[3], [2], [4], [9], [1], [1], [1]]),
    ],
)
def test_groups_keep_the_order_and_the_budgets(tokens, number, groups):
    assert list(grouped([3, 2, 4, 9, 1, 1, 1], int, tokens=tokens, number=number)) == groups
    assert list(grouped([], int, tokens=tokens)) == []
