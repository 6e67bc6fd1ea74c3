"""Code is found between fences."""

import pytest

from mftcoder.metric.fences import unfenced


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("x = 1", "x = 1"),
        ("Of course:\n```python\nx = 1\n```\nand\n```\ny\n```", "x = 1\n"),
        ("```\nx = 1", "x = 1"),
        ("  ```py\n  x = 1\n  ```", "  x = 1\n"),
        ("s = '```'\nt", "s = '```'\nt"),
    ],
)
def test_the_first_block_is_taken(answer, code):
    assert unfenced(answer) == code
