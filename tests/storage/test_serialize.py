import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mftcoder.storage import serialize


def same(a: Any, b: Any) -> bool:
    """Equal to the bit: types, dtypes, shapes, the order of keys, and NaN equal to itself."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        return bytes(a.reshape(-1).view(torch.uint8).tolist()) == bytes(b.reshape(-1).view(torch.uint8).tolist())
    if isinstance(a, dict):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a.items(), b.items(), strict=True))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b))


def round_trip(directory: Path, state: Any) -> Any:
    serialize.write(directory, "part", serialize.encode(state))
    return serialize.read(directory, "part")


DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool, torch.int8]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_and_shape_comes_back(dtype: torch.dtype, tmp_path: Path) -> None:
    state = [torch.randn(2, 3).to(dtype), torch.zeros((), dtype=dtype), torch.empty(0, 4, dtype=dtype)]
    assert same(round_trip(tmp_path, state), state)


def test_everything_that_json_has_no_word_for_comes_back(tmp_path: Path) -> None:
    state = {
        "inf": [math.inf, -math.inf, math.nan, -0.0, 0.1, 1e-310],
        "int": 2**200,
        "tuple": (1, (2.0, None), []),
        "keys": {(1, "a"): True, 3: {"deep": torch.ones(2)}, None: 1},
        "$tensor": "a key that looks like ours",
        "empty": {},
        "text": "日本\x00\n",
    }
    assert same(round_trip(tmp_path, state), state)


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"]))
states = st.recursive(
    leaves,
    lambda s: st.lists(s) | st.tuples(s, s) | st.dictionaries(st.text("$ab/0", max_size=3) | st.integers(), s),
    max_leaves=20,
)


@given(states)
def test_any_nesting_comes_back(state: Any) -> None:
    encoded = serialize.encode(state)
    tree = json.loads(json.dumps(encoded.tree, allow_nan=False))
    assert same(serialize.decode(serialize.Encoded(tree, encoded.tensors)), state)


def test_views_of_one_storage_are_written_apart(tmp_path: Path) -> None:
    base = torch.arange(6.0).reshape(2, 3)
    state = {"whole": base, "row": base[1], "turned": base.T}
    assert same(round_trip(tmp_path, state)["turned"].contiguous(), base.T.contiguous())
    assert same(round_trip(tmp_path, state)["row"], base[1])


def test_the_copy_does_not_follow_the_original() -> None:
    state = {"t": torch.zeros(3), "l": [1]}
    encoded = serialize.encode(state)
    state["t"].add_(1)
    state["l"].append(2)
    assert same(serialize.decode(encoded), {"t": torch.zeros(3), "l": [1]})
    assert encoded.num_bytes == 12


def test_training_on_a_restored_tensor_leaves_the_file_alone(tmp_path: Path) -> None:
    restored = round_trip(tmp_path, {"t": torch.zeros(3)})
    restored["t"].add_(1)
    assert same(serialize.read(tmp_path, "part"), {"t": torch.zeros(3)})


def test_anything_else_is_refused_with_its_path() -> None:
    with pytest.raises(TypeError, match=r"a/0: .* of type object; a state holds"):
        serialize.encode({"a": [object()]})


def test_no_pickle_is_written(tmp_path: Path) -> None:
    round_trip(tmp_path, {"t": torch.zeros(3)})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["part.json", "part.safetensors"]
