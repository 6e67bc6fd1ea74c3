"""What is typed, before Hydra sees it."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from mftcoder.__main__ import parse
from mftcoder.cli import config


def typed(*words: str) -> list[str]:
    return parse(["launch.py", *words]).overrides


@pytest.mark.parametrize(
    "text",
    [
        "It's broken",
        "价格是多少",
        "Write f(x) that adds one, please",
        'print("hi")',
        "def f():\n    return 'a'\n",
        "123",
        "true",
        "null",
        "",
        "cost ${price} or \\${price}",
        "C:\\",
        "a\\'b\\\\'",
        "{a: 1} # [2]",
        "'",
        '"',
    ],
)
@pytest.mark.parametrize("key", ["prompt", "system"])
def test_a_text_is_taken_as_it_is(key: str, text: str) -> None:
    tree = config.compose(*typed("generate", f"{key}={text}"), config_name="generate")
    assert OmegaConf.to_container(tree, resolve=True)[key] == text  # type: ignore[index, call-overload]


def test_a_text_in_quotes_is_hydras() -> None:
    assert typed("generate", "prompt='a, b'") == ["prompt='a, b'"]


def test_other_values_and_sweeps_are_hydras() -> None:
    assert typed("name=a,b", "prompts=x") == ["name=a,b", "prompts=x"]
    assert typed("generate", "-m", "prompt=a,b") == ["prompt=a,b"]
