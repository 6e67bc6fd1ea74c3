import numpy as np
import pyarrow as pa
import pytest

from mftcoder.data.corpus.tables import SCHEMA, Split, Table


@pytest.fixture
def table(tmp_path):
    """Two batches, the first of them empty as those of unusable records are: rows of 3, 1 and 2 tokens."""
    rows = [([7, 8, 9], [False, True, True], 2, 0, 11), ([5], [False], 0, 1, 12), ([1, 2], [False, True], 1, 0, 2**63)]
    with pa.OSFile(str(tmp_path / "table.arrow"), "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
        for part in ([], rows[:2], rows[2:]):
            columns = [[row[i] for row in part] for i in range(5)]
            arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA))
    return Table(tmp_path)


def test_a_table_knows_its_rows_without_reading_them(table):
    assert table.lengths.tolist() == [3, 1, 2]
    assert table.targets.tolist() == [2, 0, 1]
    assert table.split.tolist() == [0, 1, 0]
    assert table.key.tolist() == [11, 12, 2**63]


def test_rows_are_found_across_batches(table):
    rows = [table.row(i) for i in range(3)]
    assert [ids.tolist() for ids, _ in rows] == [[7, 8, 9], [5], [1, 2]]
    assert [mask.tolist() for _, mask in rows] == [[False, True, True], [False], [False, True]]
    assert rows[0][0].dtype == np.int32


def test_a_split_numbers_its_own_rows(table, tmp_path):
    split = Split(["a", "b"], [table, table], [np.array([2, 0]), np.zeros(0, int)], tmp_path)
    assert split.num_tasks == 2
    assert [split.num_samples(task) for task in (0, 1)] == [2, 0]
    assert split.lengths(0).tolist() == [2, 3]
    assert split.supervised(0).tolist() == [1, 2]
    assert (split.num_tokens(0), split.num_targets(0), split.num_tokens(1)) == (5, 3, 0)
    sample = split.sample(0, 0)
    assert (sample.ids.tolist(), sample.supervised.tolist(), sample.task, sample.index) == ([1, 2], [False, True], 0, 0)


def test_an_empty_table_is_a_table(tmp_path):
    with pa.OSFile(str(tmp_path / "table.arrow"), "wb") as file, pa.ipc.new_file(file, SCHEMA):
        pass
    assert len(Table(tmp_path).lengths) == 0
