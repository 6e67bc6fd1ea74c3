"""The tiny model: small, always the same, with a tokenizer that loses nothing."""

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from small_models import preset, some_ids
from torch.testing._internal.distributed.fake_pg import FakeStore

from mftcoder.model.tiny import Tiny
from mftcoder.model.tiny_tokenizer import FILE, train

CPU = torch.device("cpu")
TEXTS = [
    "def f(x):\n    return  x\t# é 你好 🙂 \u00a0\r\n",
    "<s>human\nhi\n<s>bot\n",
    "",
    " ",
    "\n\n",
    "0123456789",
    "\x00\x7f",
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


def tiny(directory, **changes) -> Tiny:
    return preset("model/tiny", directory=str(directory), **changes)


def fingerprint(model: Tiny) -> str:
    net = model.load(None, CPU, frozen=False)
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in net.parameters())).hexdigest()


def test_it_has_fewer_than_two_million_parameters_and_room_for_every_token(directory):
    model = tiny(directory)
    net, tokenizer = model.load(None, CPU, frozen=False), model.tokenizer()
    assert sum(p.numel() for p in net.parameters()) < 2_000_000
    assert len(tokenizer) == net.get_input_embeddings().num_embeddings <= 2048
    assert net.config.eos_token_id == tokenizer.eos_token_id
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3


def test_the_same_arguments_give_the_same_weights_anywhere(directory, tmp_path):
    torch.manual_seed(9)
    state = torch.get_rng_state()
    first = fingerprint(tiny(directory))
    assert fingerprint(tiny(tmp_path)) == first
    assert torch.equal(torch.get_rng_state(), state)  # a run draws the same numbers whether they were there or not
    assert fingerprint(tiny(directory, init_seed=1)) != first


def test_other_sizes_get_a_directory_of_their_own(directory):
    assert tiny(directory, num_hidden_layers=2).source() != tiny(directory).source()


def test_the_constructor_touches_nothing(tmp_path):
    tiny(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_of_two_processes_that_draw_at_the_same_time_both_get_it(tmp_path, monkeypatch):
    draw = Tiny._draw

    def overtaken(self, staged):
        draw(self, staged)
        shutil.copytree(staged, self.pretrained_model_path)  # what another process has just renamed

    monkeypatch.setattr(Tiny, "_draw", overtaken)
    model = tiny(tmp_path)
    model.load(None, CPU, frozen=False)
    assert [path.name for path in tmp_path.iterdir()] == [Path(model.pretrained_model_path).name]


def test_every_rank_draws_a_whole_model(tmp_path):
    """Of itself, transformers saves on rank 0 alone, and the empty directory of another may get the name first."""
    dist.init_process_group("fake", store=FakeStore(), rank=1, world_size=2)
    try:
        source = Path(tiny(tmp_path).source())
    finally:
        dist.destroy_process_group()
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in source.iterdir()}


def test_it_learns(directory):
    net = tiny(directory, num_hidden_layers=1).load(None, CPU, frozen=False)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    losses = []
    for _ in range(10):
        loss = net(input_ids=some_ids(), labels=some_ids(), use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("text", TEXTS)
def test_the_tokenizer_loses_nothing(directory, text):
    tokenizer = tiny(directory).tokenizer()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert all(i > 2 for i in ids)  # no special token of plain text


@given(st.text())
def test_the_tokenizer_loses_nothing_of_any_text(text):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(FILE))
    text = text.encode("utf-8", "ignore").decode()
    for special in ("<|bos|>", "<|eos|>", "<|pad|>"):
        text = text.replace(special, "")
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_code_takes_far_fewer_tokens_than_bytes(directory):
    code = Path(__file__).read_text(encoding="utf-8")
    assert len(tiny(directory).tokenizer()(code)["input_ids"]) < len(code) / 2


def test_special_tokens_are_single_and_the_digits_stand_alone(directory):
    tokenizer = tiny(directory).tokenizer()
    assert tokenizer.tokenize("a<|eos|>2026") == ["a", "<|eos|>", "2", "0", "2", "6"]


def test_the_maker_of_the_tokenizer_is_deterministic():
    texts = ["def f():\n    return 1\n", "class A:\n    pass\n"] * 20
    assert train(texts).to_str() == train(texts).to_str()


def test_the_shipped_file_is_small():
    assert FILE.stat().st_size < 200_000
