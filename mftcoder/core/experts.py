"""The experts of a mixture as one linear layer each, so that whatever works on linear layers works on experts.

transformers keeps the weights of a layer's experts stacked, [experts, out, in], where neither quantisation nor adapters
look for linear layers: a base in 4 bits would stay almost whole, and an adapter would need the product of its factors
and the gradient of the stack, for all experts at once. Split, each expert is quantised and adapted like any other part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

MakeLinear = Callable[[nn.Linear], nn.Module]
STACKS = ("gate_up_proj", "down_proj")


class SplitExperts(nn.Module):
    """The experts of one layer: `gate_up_proj_<e>` [2 I, H] and `down_proj_<e>` [H, I] for each expert e.

    Every expert runs in every forward pass, also on no token at all: processes that share or shard parameters wait for
    each other at each of them, and each gets a gradient.

    Args:
        stacked: the module that holds the weights of all experts; it is left without them.
        make: turns each linear layer into what takes its place, as a quantised one.
    """

    def __init__(self, stacked: nn.Module, make: MakeLinear) -> None:
        super().__init__()
        self.num_experts = int(stacked.num_experts)  # type: ignore[arg-type]
        for name in STACKS:
            for index, linear in enumerate(_linears(getattr(stacked, name))):
                self.add_module(f"{name}_{index}", make(linear))
            delattr(stacked, name)
        self.stacked = [stacked]  # in a list: no submodule, or its name would be in all paths

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """Hidden states [N, H], experts of each token [N, k] and their weights [N, k], to [N, H]."""
        output = torch.zeros_like(hidden_states)
        for expert in range(self.num_experts):
            token, place = torch.where(top_k_index == expert)
            rows = self.run_expert(expert, hidden_states[token]) * top_k_weights[token, place, None]
            output.index_add_(0, token, rows.to(output.dtype))
        return output

    def run_expert(self, expert: int, rows: Tensor) -> Tensor:
        """One expert on rows [n, H]."""
        gated: Tensor = self.stacked[0]._apply_gate(getattr(self, f"gate_up_proj_{expert}")(rows))  # type: ignore[operator]
        out: Tensor = getattr(self, f"down_proj_{expert}")(gated)
        return out

    def restacked(self) -> nn.Module:
        """The module that this was made from, with the weights as they are now."""
        stacked = self.stacked[0]
        for name in STACKS:
            weights = [getattr(self, f"{name}_{expert}").weight.detach() for expert in range(self.num_experts)]
            stacked.register_parameter(name, nn.Parameter(torch.stack(weights), requires_grad=False))
        return stacked


def split_experts(net: nn.Module, make: MakeLinear) -> None:
    """Replace all stacked experts of `net` that have nothing to them but gate, up and down projections."""
    for parent, name, module in list(_children(net)):
        if _is_plain(module):
            setattr(parent, name, SplitExperts(module, make))


def restack_experts(net: nn.Module) -> None:
    """Undo `split_experts`, once all that took the place of linear layers is linear layers again."""
    for parent, name, module in list(_children(net)):
        if isinstance(module, SplitExperts):
            setattr(parent, name, module.restacked())


def _children(net: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    return ((parent, name, child) for parent in net.modules() for name, child in parent.named_children())


def _is_plain(module: nn.Module) -> bool:
    """Whether a module holds stacked experts that compute down(gate(gate_up(x))), without biases and norms."""
    stacks = [getattr(module, name, None) for name in STACKS]
    if not all(isinstance(stack, nn.Parameter) and stack.ndim == 3 for stack in stacks):
        return False
    more = ("has_bias", "is_transposed", "has_post_expert_norm")
    return getattr(module, "has_gate", False) and not any(getattr(module, name, False) for name in more)


def _linears(stack: Tensor) -> Iterator[nn.Linear]:
    """A linear layer for each matrix of [experts, out, in]."""
    for weight in stack.detach().unbind():
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        linear.weight = nn.Parameter(weight.clone(), requires_grad=False)
        yield linear
