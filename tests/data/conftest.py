"""Tokenizers of the kinds that real models have, small and made here."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "def sort(values):\n    return sorted(values)\n\n\n",
    "Write a function that sorts a list of values.\n",
    "排序一个列表 😀 naïve café — “quoted”\n\n",
] * 3


def byte_level(normalizer: normalizers.Normalizer | None = None) -> Tokenizer:
    """As GPT-2's, Llama 3's or Qwen's: merges over bytes."""
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=340, initial_alphabet=alphabet, show_progress=False)
    )
    return tokenizer


def sentencepiece(prepend: Callable[[Tokenizer], None]) -> Tokenizer:
    """As Llama 2's and Mistral's: merges over characters, bytes for those it does not know, ▁ for spaces."""
    small = Tokenizer(models.BPE())
    small.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    small.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=120, show_progress=False))
    learnt = sorted(small.get_vocab(), key=small.get_vocab().__getitem__)
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(["<unk>", "▁", *fallback, *learnt]))}
    merges = [pair for token in learnt for pair in splits(token, vocabulary)]
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    prepend(tokenizer)
    return tokenizer


def splits(token: str, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """One merge that makes `token`, if it is no single character."""
    ways = [(token[:i], token[i:]) for i in range(1, len(token))]
    return [way for way in ways if way[0] in vocabulary and way[1] in vocabulary][:1]


def legacy(tokenizer: Tokenizer) -> None:
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])


def metaspace(scheme: str) -> Callable[[Tokenizer], None]:
    def prepend(tokenizer: Tokenizer) -> None:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)

    return prepend


def word_level() -> Tokenizer:
    """As no model's: words, and a token for all that it does not know."""
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "b": 2, "sort": 3}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte level": byte_level,
    "byte level, composed": lambda: byte_level(normalizers.NFC()),
    "byte level, lower case": lambda: byte_level(normalizers.Lowercase()),
    "byte level, decomposed": lambda: byte_level(normalizers.NFD()),
    "sentencepiece, legacy": lambda: sentencepiece(legacy),
    "sentencepiece, first": lambda: sentencepiece(metaspace("first")),
    "sentencepiece, always": lambda: sentencepiece(metaspace("always")),
    "sentencepiece, never": lambda: sentencepiece(metaspace("never")),
    "words": word_level,
}


def finished(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    tokenizer.add_tokens([AddedToken("<think>", normalized=False)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    """A tokenizer of each kind."""
    return finished(KINDS[request.param]())


@pytest.fixture(scope="session")
def merging() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with merges."""
    return finished(byte_level())


@pytest.fixture(scope="session")
def llama() -> PreTrainedTokenizerFast:
    """A tokenizer as Llama 2's."""
    return finished(sentencepiece(legacy))
