"""Equal weighs by task, not by amount of data."""

import torch

from mftcoder.balancer.equal import Equal


def test_weights_do_not_depend_on_counts() -> None:
    balancer = Equal()
    balancer.start(["a", "b", "c"])
    weights = balancer.weights(7, torch.tensor([900.0, 1.0, 0.0], dtype=torch.float64))
    assert weights.tolist() == [1.0, 1.0, 1.0]
    assert weights.dtype == torch.float64


def test_nothing_to_observe_and_no_state() -> None:
    balancer = Equal()
    assert balancer.probe == "none"
    assert not balancer.wants(0)
    assert balancer.state_dict() == {}
