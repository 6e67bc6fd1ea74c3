"""The verb `export`: one plain model directory, the adapter merged in, and the proof that it is the same model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mftcoder.cli.next_steps import after_export
from mftcoder.core.errors import UserError
from mftcoder.core.experts import restack_experts, split_experts
from mftcoder.engine.device import Device, choose_device
from mftcoder.model.causal_lm import CausalLM
from mftcoder.model.generation import end_ids
from mftcoder.model.weights import save_model
from mftcoder.quantization.base import Quantization
from mftcoder.storage.restored import FromRun, SavedModel, attach, find, of_run
from mftcoder.system.files import staged
from mftcoder.template.base import Template

MergeInto = Literal["trained", "full"]
PROBE = (4, 64)  # sequences and tokens
ROUNDING = 1e-3  # what merging in float32 may change, as a part of the largest logit
REQUANTISED = (
    "the base is quantised anew on this CPU, from float32; where the adapter was trained on a GPU, it was quantised "
    "from bfloat16: the same for bases in bfloat16, but 0.4 % of the codes differ for those in float16 (Llama 2)"
    "; device=cuda quantises as in training"
)


@torch.no_grad()
def export(
    *,
    name: str,
    checkpoint: str,
    model: CausalLM | FromRun,
    quantization: Quantization | FromRun | None,
    template: Template | FromRun,
    merge_into: MergeInto,
    dtype: Literal["float32", "bfloat16"],
    tolerance: float,
    output: str | None,
    device: Device,
    trusted_targets: list[str],
    run_dir: Path,
) -> None:
    """Write the model of `checkpoint` so that any program of its family loads it, and compare the files with it.

    template: as what the exported tokenizer puts chats (`apply_chat_template`).
    name: of the directory that runs go to. run_dir: where the model goes if `output` is None. Merging happens in
    float32. Raises UserError, and writes nothing, where what was written answers otherwise than what was trained.
    """
    target = Path(output) if output is not None else run_dir / "model"
    if target.exists():
        raise UserError(f"output={target}: exists already; name a directory that does not")
    trained = find(checkpoint, model=model, quantization=quantization, trusted=trusted_targets)
    place = choose_device(device)
    net, tokenizer = trained.load(place)
    shown = of_run("template", template, trained.weights, Template, trusted=trusted_targets)
    if (text := shown.jinja(tokenizer)) is not None:
        tokenizer.chat_template = text
    probe = Probe.of(net, tokenizer)
    net = merge(_adapted(trained, net, merge_into), probe)
    with staged(target, replace=False) as directory:
        restack_experts(net)
        _end_answers(net, tokenizer, shown)
        _write(net, tokenizer, directory, cast(torch.dtype, getattr(torch, dtype)))
        del net  # One at a time is enough in memory.
        difference = probe.difference(trained.model.at(directory).load(None, place, frozen=False))
        print(f"{target} ({dtype}) against the model as it was trained: {difference}")
        if not difference.nats <= tolerance:
            raise UserError(
                f"the exported model departs by {difference.nats:.2g} nats a token from the trained one, more than "
                f"tolerance={tolerance}: export it with dtype=float32 or merge_into=trained, or allow more"
            )
    print(after_export(target))


@dataclass(frozen=True, slots=True)
class Difference:
    """How far one model is from another.

    nats: mean Kullback-Leibler divergence of the next token's distribution. agreement: how often the likeliest token is
    the same.
    """

    nats: float
    agreement: float

    def __str__(self) -> str:
        return f"{self.nats:.2g} nats a token, the likeliest token is the same at {self.agreement:.1%} of the positions"


@dataclass(frozen=True, slots=True)
class Probe:
    """A few sequences of random tokens, and what a model made of them. ids: [4, 64]. logits: [4, 64, V] float64."""

    ids: Tensor
    logits: Tensor

    @classmethod
    def of(cls, net: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase) -> Probe:
        """Random tokens, always the same, and the answers of `net`."""
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(len(tokenizer), PROBE, generator=generator).to(net.device)
        return cls(ids, logits(net, ids))

    def difference(self, net: PreTrainedModel) -> Difference:
        """How far another model is from the one that was probed."""
        ours, theirs = self.logits.log_softmax(-1), logits(net, self.ids).log_softmax(-1)
        nats = (ours.exp() * (ours - theirs)).sum(-1).mean()
        return Difference(float(nats), float((ours.argmax(-1) == theirs.argmax(-1)).double().mean()))


def logits(net: PreTrainedModel | PeftModel, ids: Tensor) -> Tensor:
    """The logits of all positions, float64."""
    return cast(Tensor, net.eval()(input_ids=ids, use_cache=False).logits).double()


def merge(net: PreTrainedModel | PeftModel, probe: Probe) -> PreTrainedModel:
    """The base of `net` with its adapter added in; what has no adapter stays as it is.

    Raises UserError where the result departs from base and adapter by more than float32 rounds.
    """
    if not isinstance(net, PeftModel):
        return net
    before = logits(net, probe.ids)
    merged = cast(PreTrainedModel, net.merge_and_unload(safe_merge=True))
    error = float((logits(merged, probe.ids) - before).abs().max() / before.abs().max())
    print(f"merged against adapter: the logits differ by at most {error:.1e} of the largest")
    if not error <= ROUNDING:
        raise UserError(f"merging changes the logits by {error:.1e} of the largest: this adapter cannot be merged")
    return merged


def _adapted(
    trained: SavedModel, net: PreTrainedModel | PeftModel, merge_into: MergeInto
) -> PreTrainedModel | PeftModel:
    """The trained model in float32, over weights to which an adapter can be added."""
    if trained.quantization is None or not trained.is_adapter:
        return net.float()
    if merge_into == "full":
        base = trained.model.load(None, net.device, frozen=False)
    else:
        if net.device.type == "cpu":
            print(REQUANTISED)
        base = trained.model.load(trained.quantization, net.device, frozen=True)
        base.dequantize(torch.float32)
    split_experts(base, lambda linear: linear)  # as over the quantised base, where there were no stacks
    return attach(base.float(), cast(Path, trained.weights))


def _end_answers(net: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, template: Template) -> None:
    """Have other programs end an answer where the template ended it in training, besides where the base did."""
    ids = end_ids(net, tokenizer, template.ends(tokenizer) if tokenizer.chat_template else ())
    net.generation_config.eos_token_id = net.config.eos_token_id = ids if len(ids) > 1 else ids[0]


def _write(net: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: Path, dtype: torch.dtype) -> None:
    net.to(dtype)
    save_model(net, dict(net.named_parameters()), directory, original_names=True)
    tokenizer.save_pretrained(directory)
