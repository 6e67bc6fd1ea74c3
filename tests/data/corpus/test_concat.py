import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from memory_split import memory_split

from mftcoder.core.batch import Sample
from mftcoder.data.corpus.concat import Concatenated


def running_text(lengths):
    """A split of one task whose tokens count up; all but the first token of an example are targets."""
    split = memory_split([lengths])
    starts = np.cumsum([0, *lengths])

    def sample(task, row):
        supervised = np.ones(lengths[row], bool)
        supervised[0] = False
        return Sample(np.arange(starts[row], starts[row + 1], dtype=np.int32), supervised, task, row)

    split.sample = sample
    split.num_targets = lambda task: sum(n - 1 for n in lengths)
    return split


@given(lengths=st.lists(st.integers(1, 30), max_size=12), seq_length=st.integers(2, 40))
def test_windows_predict_every_token_once(lengths, seq_length):
    windows = Concatenated(running_text(lengths), seq_length)
    samples = [windows.sample(0, i) for i in range(windows.num_samples(0))]
    assert [len(sample) for sample in samples] == windows.lengths(0).tolist()
    assert all(len(sample) == seq_length for sample in samples[:-1])
    assert all(2 <= len(sample) <= seq_length for sample in samples)
    predicted = [token for sample in samples for token in sample.ids[1:].tolist()]
    assert predicted == list(range(1, sum(lengths)))
    learnt = [token for sample in samples for token in sample.ids[sample.supervised].tolist()]
    firsts = set(np.cumsum([0, *lengths]).tolist())
    assert learnt == [token for token in predicted if token not in firsts]
    assert windows.supervised(0).sum() == windows.num_targets(0)
    assert windows.num_tasks == 1


def test_a_window_reads_only_the_examples_that_it_touches():
    split = running_text([10] * 100)
    read = []
    whole = split.sample
    split.sample = lambda task, row: read.append(row) or whole(task, row)
    Concatenated(split, 16).sample(0, 20)
    assert read == [30, 31]


def test_samples_know_their_place():
    sample = Concatenated(running_text([10] * 5), 16).sample(0, 2)
    assert (sample.task, sample.index) == (0, 2)
    assert sample.ids[0] == 30
