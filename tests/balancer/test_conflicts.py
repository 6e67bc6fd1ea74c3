"""Gradient methods are refused where gradients are not whole."""

import pytest

from mftcoder.cli.config import load
from mftcoder.core.errors import ConfigError


@pytest.mark.parametrize("balancer", ["pcgrad", "cagrad", "gradnorm"])
def test_gradient_methods_need_whole_gradients(balancer: str) -> None:
    with pytest.raises(ConfigError, match=r"takes each task's gradient apart .* use engine=single or engine=ddp"):
        load(f"balancer={balancer}", "engine=fsdp2")


@pytest.mark.parametrize("balancer", ["pcgrad", "coba", "fixed"])
@pytest.mark.parametrize("engine", ["single", "ddp"])
def test_elsewhere_all_are_welcome(balancer: str, engine: str) -> None:
    assert load(f"balancer={balancer}", f"engine={engine}")["balancer"]["_target_"].startswith("mftcoder.balancer.")
