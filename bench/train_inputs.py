"""For bench/train.py: the dialogues and the model that all contenders are given, as files.

A dialogue is {"input_ids": [n], "completion_mask": [n]}, the mask 1 where a token is to be learnt.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

LONGEST = 512


class Size(NamedTuple):
    """Of a step: real tokens, those of them that are learnt, and positions that the model computed."""

    tokens: int
    supervised: int
    positions: int


def dialogues(number: int) -> list[dict[str, list[int]]]:
    """Some of each task of the standard library in turn, drawn at random, of at most LONGEST tokens."""
    from mftcoder.cli.config import build, load

    tree = load("model=smollm2_135m", "data=stdlib", f"data.seq_length={LONGEST}")
    template = build(tree["template"])
    data = build(tree["data"])
    corpus = data.load(
        tokenizer=build(tree["model"]).tokenizer(), template=template, cache_dir=Path(tree["cache_dir"])
    ).train
    rng, tasks, chosen = np.random.default_rng(0), corpus.num_tasks, []
    while len(chosen) < number:
        task = len(chosen) % tasks
        sample = corpus.sample(task, int(rng.integers(corpus.num_samples(task))))
        if len(sample) < LONGEST:  # Those that were cut have just as many.
            chosen.append(dialogue(sample.ids, sample.supervised))
    return chosen


def dialogue(ids: Any, supervised: Any) -> dict[str, list[int]]:
    return {"input_ids": [int(i) for i in ids], "completion_mask": [int(i) for i in supervised]}


def random_dialogues(number: int, length: int, vocabulary: int) -> list[dict[str, list[int]]]:
    """Random tokens, the second half of them to be learnt."""
    rng = np.random.default_rng(0)
    return [dialogue(rng.integers(10, vocabulary, length), np.arange(length) >= length // 2) for _ in range(number)]


def random_model(to: Path, length: int, vocabulary: int) -> Path:
    """Two layers as wide as SmolLM2-135M's, with a vocabulary of any size."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from mftcoder.cli.config import build, load

    source = build(load("model=smollm2_135m")["model"]).source()
    config = AutoConfig.from_pretrained(source)
    config.num_hidden_layers, config.vocab_size, config.max_position_embeddings = 2, vocabulary, max(length, 2048)
    path = to / f"model-{vocabulary}-{length}"
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(path)
    AutoTokenizer.from_pretrained(source).save_pretrained(path)
    return path


def clock(job: dict[str, Any]) -> Callable[[], float]:
    """Wall seconds, or those that this process was computing, where the job says so."""
    return time.process_time if job["cpu_time"] else time.perf_counter


def matrix_product_peak(now: Callable[[], float]) -> float:
    """Most floating-point operations a second of a float32 product, over square and tall shapes."""
    best = 0.0
    for rows, inner, columns in ((1024, 576, 1536), (1024, 1536, 576), (1024, 1024, 1024), (2048, 2048, 2048)):
        left, right = torch.randn(rows, inner), torch.randn(inner, columns)
        for _ in range(8):
            begun = now()
            torch.mm(left, right)
            best = max(best, 2 * rows * inner * columns / (now() - begun))
    return best


class Products(TorchDispatchMode):
    """Counts the floating-point operations of the matrix products that are executed in it, attention's with them."""

    flops = 0

    @override
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.name().removeprefix("aten::").split(".")[0]
        factors = {"mm": args, "bmm": args, "addmm": args[1:], "addmm_": args[1:]}
        if name in factors:
            self.flops += 2 * out.numel() * factors[name][0].shape[-1]
        elif name == "_scaled_dot_product_flash_attention_for_cpu":
            self.flops += attention(args[0], args[1], products=2, causal=bool(args[4:5] and args[4]))
        elif name == "_scaled_dot_product_flash_attention_for_cpu_backward":
            self.flops += attention(args[1], args[2], products=5, causal=args[7])
        return out


def attention(query: torch.Tensor, key: torch.Tensor, *, products: int, causal: bool) -> int:
    """Operations of so many products of [queries, d] with [d, keys] for each head; only half of them if causal."""
    return products * 2 * query.numel() * key.shape[2] // (2 if causal else 1)


def memory(field: str) -> int:
    """Bytes of this process's VmRSS (now) or VmHWM (most, without that of the parent, unlike ru_maxrss)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def report(losses: list[float], seconds: list[float], steps: list[Size], **more: Any) -> None:
    """Print the measurement of one run; the first step's time does not count, nor do its tokens."""
    counted = {"tokens": sum(s.tokens for s in steps[1:]), "supervised": sum(s.supervised for s in steps[1:])}
    padding = 1 - sum(s.tokens for s in steps) / sum(s.positions for s in steps)
    run = {"losses": losses, "seconds": sum(seconds[1:]), "padding": padding, **counted, **more}
    print(json.dumps(run), flush=True)


def main() -> None:
    job = json.loads(sys.argv[1])
    to, number = Path(job["to"]), job["dialogues"]
    if "length" in job:
        chosen = random_dialogues(number, job["length"], job["vocabulary"])
        model = random_model(to, job["length"], job["vocabulary"])
    else:
        from mftcoder.cli.config import build, load

        chosen, model = dialogues(number), Path(build(load("model=smollm2_135m")["model"]).source())
    file = to / "dialogues.json"
    file.write_text(json.dumps(chosen), encoding="utf-8")
    tokens = [len(d["input_ids"]) for d in chosen]
    supervised = sum(sum(d["completion_mask"]) for d in chosen)
    about = {"tokens": sum(tokens), "longest": max(tokens), "supervised": supervised, "torch": torch.__version__}
    print(json.dumps({"model": str(model), "file": str(file), "load": os.getloadavg()[0], **about}))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
