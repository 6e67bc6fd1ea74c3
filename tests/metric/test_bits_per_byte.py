"""Bits a byte do not depend on how a text is cut into tokens."""

import math

import pytest

from mftcoder.metric.base import Answered
from mftcoder.metric.bits_per_byte import BitsPerByte


@pytest.mark.parametrize("tokens", [1, 4])
def test_tokens_do_not_matter(tokens):
    sample = Answered(task="t", key="1", nats=8 * math.log(2), tokens=tokens, bytes=4)
    metric = BitsPerByte()
    assert metric.score(metric.measure([sample]).sum(0)) == pytest.approx(2.0)
