"""Completions: batches equal single prompts and a greedy loop written out, sampling is seeded, answers end."""

import copy

import numpy as np
import pytest
import torch
from small_models import FAMILIES, load, preset, save_random, shaken
from transformers import TextStreamer

from mftcoder.model.forward.loss_model import LossModel
from mftcoder.model.generation import Decoding, complete

PROMPTS = [np.array(ids, dtype=np.int32) for ids in ([70, 71, 72], [80], list(range(60, 90)))]


def decoding(**changes) -> Decoding:
    settings = {"max_new_tokens": 12, "do_sample": False, "temperature": 1.0, "top_p": 1.0}
    return Decoding(**{**settings, "num_beams": 1, "repetition_penalty": 1.0, **changes})


@pytest.fixture(scope="module")
def llama(tmp_path_factory, tokenizer):
    return save_random("llama", tmp_path_factory.mktemp("llama"), tokenizer)


def readable(net):
    """`net`, which now says printable ASCII alone, so that equal answers are equal tokens."""
    with torch.no_grad():
        net.get_output_embeddings().weight[94:] = 0.0
    return net


def greedy(net, tokenizer, prompt, length: int) -> str:
    """Without a cache, one token after another."""
    ids = prompt.tolist()
    with torch.no_grad():
        while len(ids) < len(prompt) + length:
            token = int(net(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
            if token == tokenizer.eos_token_id:
                break
            ids.append(token)
    return tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_prompts_gives_the_greedy_answers(family, tmp_path, tokenizer):
    net = readable(shaken(load(save_random(family, tmp_path), frozen=False), scale=0.05)).eval()
    expected = [greedy(net, tokenizer, prompt, 12) for prompt in PROMPTS]
    assert all(len(answer) == 12 for answer in expected)
    assert complete(net, tokenizer, PROMPTS, decoding()) == expected


def test_a_model_in_training_answers_and_goes_on_as_it_was(llama, tokenizer):
    """Adapted, with packed attention and gradient checkpointing, as the loop has it."""
    plain = readable(load(llama)).eval()
    net = preset("peft/lora", lora_dropout=0.5).adapt(readable(load(llama, gradient_checkpointing=True)))
    LossModel(net, loss_kernel="fused", packed=True)
    net.train()
    answers = complete(net, tokenizer, PROMPTS, decoding())
    assert answers == [greedy(plain, tokenizer, prompt, 12) for prompt in PROMPTS]
    assert net.training
    assert net.config.use_cache is False
    assert all(p.grad is None for p in net.parameters())


def test_answers_end_where_the_caller_the_tokenizer_or_the_model_says(llama, tokenizer):
    net = readable(load(llama))
    answer = complete(net, tokenizer, PROMPTS[:1], decoding())[0]
    assert len(answer) == 12
    first = tokenizer.convert_tokens_to_ids(answer[0])
    assert complete(net, tokenizer, PROMPTS[:1], decoding(), ends=[answer[0]])[0] == answer[0]
    ending = copy.deepcopy(tokenizer)
    ending.eos_token = answer[0]
    assert complete(net, ending, PROMPTS[:1], decoding())[0] == answer[0]
    net.generation_config.eos_token_id = [first, 7]
    assert complete(net, tokenizer, PROMPTS[:1], decoding())[0] == answer[0]


def test_draws_follow_the_seed(llama, tokenizer):
    net, drawn = readable(load(llama)), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(complete(net, tokenizer, PROMPTS, decoding(do_sample=True)))
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_low_temperature_or_a_small_top_p_is_greedy(llama, tokenizer):
    net = readable(shaken(load(llama, frozen=False)))
    expected = complete(net, tokenizer, PROMPTS, decoding())
    assert complete(net, tokenizer, PROMPTS, decoding(do_sample=True, temperature=1e-4)) == expected
    assert complete(net, tokenizer, PROMPTS, decoding(do_sample=True, top_p=1e-6)) == expected


def test_a_repetition_penalty_and_beams_change_the_answer(llama, tokenizer):
    net = readable(shaken(load(llama, frozen=False)))
    plain = complete(net, tokenizer, PROMPTS, decoding(max_new_tokens=24))
    assert complete(net, tokenizer, PROMPTS, decoding(max_new_tokens=24, repetition_penalty=5.0)) != plain
    assert complete(net, tokenizer, PROMPTS, decoding(max_new_tokens=24, num_beams=4)) != plain


def test_a_streamer_shows_the_answer(llama, tokenizer, capsys):
    streamer = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    answer = complete(readable(load(llama)), tokenizer, PROMPTS[:1], decoding(), streamer=streamer)[0]
    assert capsys.readouterr().out.strip() == answer.strip() != ""


def test_all_settings_out_of_range_are_named():
    with pytest.raises(ValueError, match=r"max_new_tokens: 0") as error:
        decoding(max_new_tokens=0, temperature=0.0, top_p=1.5, num_beams=0, repetition_penalty=0.0)
    names = [line.partition(":")[0] for line in str(error.value).splitlines()]
    assert names == ["max_new_tokens", "temperature", "top_p", "num_beams", "repetition_penalty"]


def test_nothing_is_written_after_a_stop_sequence(llama, tokenizer):
    net = readable(load(llama)).eval()
    [whole] = complete(net, tokenizer, PROMPTS[:1], decoding())
    [stopped] = complete(net, tokenizer, PROMPTS[:1], decoding(), stop=[whole[4:6]])
    assert stopped == whole[: whole.index(whole[4:6]) + 2]
