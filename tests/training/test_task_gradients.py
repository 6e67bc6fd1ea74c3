"""The stack of the tasks' gradients: its precision and its size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mftcoder.core.errors import UserError
from mftcoder.training import task_gradients

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtypes", [(torch.bfloat16, torch.float32), (torch.float32, torch.bfloat16)])
def test_the_stack_is_as_precise_as_its_most_precise_parameter(dtypes):
    parameters = [nn.Parameter(torch.full((2,), 1 / 3, dtype=dtype)) for dtype in dtypes]
    for parameter in parameters:
        parameter.grad = parameter.detach().clone()
    stack = task_gradients._empty(parameters, 3, CPU)
    assert (stack.dtype, stack.shape) == (torch.float32, (3, 4))
    stack[1] = task_gradients._take(parameters)
    assert stack[1].tolist() == [value for p in parameters for value in p.tolist()]


def test_a_stack_that_does_not_fit_is_refused_with_its_size(monkeypatch):
    monkeypatch.setattr(task_gradients, "_free_bytes", lambda device: 10**9)
    parameters = [nn.Parameter(torch.zeros((), dtype=torch.float32).expand(10**9))]
    with pytest.raises(UserError, match=r"3 tasks by 1,000,000,000 .* take 12.0 GB, and 1.0 GB are free on cpu"):
        task_gradients._empty(parameters, 3, CPU)
