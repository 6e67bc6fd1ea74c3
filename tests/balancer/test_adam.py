"""Adam with gaps, against torch's."""

import torch

from mftcoder.balancer.adam import adam


def test_equals_torch_on_the_steps_that_a_coordinate_has() -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    gradients[torch.rand(40, 3, generator=generator) < 0.3] = torch.nan
    values, moments = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
    theirs = [values[i].clone().requires_grad_() for i in range(3)]
    optimizers = [torch.optim.Adam([x], lr=0.1, weight_decay=0.05) for x in theirs]
    for row in gradients:
        values, moments = adam(values, row, moments, lr=0.1, weight_decay=0.05)
        for x, g, optimizer in zip(theirs, row, optimizers, strict=True):
            if not g.isnan():
                x.grad = g.clone()
                optimizer.step()
    torch.testing.assert_close(values, torch.stack(theirs).detach(), rtol=1e-12, atol=0)
