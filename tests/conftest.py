"""What many tests need: a toy tokenizer, made here so that no test needs a network."""

from __future__ import annotations

from copy import deepcopy

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte (ids 0 to 255 in the order of ByteLevel's alphabet), then <s> 256, </s> 257, <pad> 258."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] | trim + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@pytest.fixture(scope="session")
def chat_tokenizer(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The same with the tokens of ChatML 259, 260 and of Llama 3 261 to 264, and a chat template."""
    chat = deepcopy(tokenizer)
    names = "im_start", "im_end", "begin_of_text", "start_header_id", "end_header_id", "eot_id"
    chat.add_special_tokens({"extra_special_tokens": [f"<|{name}|>" for name in names]})
    chat.chat_template = CHAT_TEMPLATE
    return chat
