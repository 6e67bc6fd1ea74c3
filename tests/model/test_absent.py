"""Families that transformers does not have are refused with a sentence that names what to take."""

from __future__ import annotations

import pytest

from mftcoder.cli import config
from mftcoder.core.errors import ConfigError

FAMILIES = ["chatglm2", "chatglm3", "codegeex2", "qwen", "baichuan2", "aquila2", "internlm"]


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_refused_before_anything_is_loaded(family: str) -> None:
    with pytest.raises(ConfigError) as error:
        config.load(f"model={family}")
    (fault,) = error.value.faults
    assert "is not an architecture of transformers 5" in fault
    chosen = fault.rpartition("take model=")[2]
    assert config.load(f"model={chosen}")["model"]["pretrained_model_path"]
