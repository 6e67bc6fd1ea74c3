"""What does preparing data cost? Speed against the bare tokenizer, memory, warm start, and how full packs are.

    python bench/data.py [out.json] [model] [parts]       prints the tables of the README, and writes them as JSON

Parts, all of them if none is named: speed, packing, and numbers of rows, as 10000.

Speed: all dialogues of the standard-library corpus, from JSONL to the table of tokens, and the same rendered strings
through `tokenizers.encode_batch_fast` alone, by turns on the same cores; medians of the rounds. Memory: how far the
anonymous memory of a process rises that tokenises 10 thousand, 100 thousand and a million short dialogues, audits them
and draws their packs. Warm start: the time of such a process, imports aside, from the cached tokens to the packs of its
first step, and to those of step 10 000 (or the last of the epoch) when resumed. Packing: one epoch of the corpus, by
size and with shares.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from mftcoder.cli.config import build, compose
from mftcoder.core.dialogue import Dialogue
from mftcoder.data.corpus.tables import Corpus
from mftcoder.data.folders import Folders
from mftcoder.data.records.parsing import parse
from mftcoder.data.records.source import Source
from mftcoder.data.stream.sampler import Sampler
from mftcoder.data.tokens.tokenise import Tokeniser, tokenise
from mftcoder.template.base import Template

ROUNDS, BATCH, PACKS_PER_STEP = 5, 1024, 4
ROWS = (10_000, 100_000, 1_000_000)
LENGTHS = (1024, 4096)
SHARES = (0.5, 0.2, 0.15, 0.1, 0.05)


def component(choice: str, **changes: Any) -> Any:
    """What a YAML of conf/ describes."""
    group = choice.split("=", maxsplit=1)[0]
    return build(dict(plain(compose(choice)[group]), **changes))


def plain(node: Any) -> Any:
    """A config as dicts and lists."""
    from omegaconf import OmegaConf

    return OmegaConf.to_container(node, resolve=True)


def speed(sources: list[Source], template: Template, tokenizer: PreTrainedTokenizerBase) -> dict[str, float]:
    """Rows and tokens a second of both ways, and their ratios of wall-clock and of CPU time."""
    texts = [text for source in sources for text in rendered(source, template, tokenizer)]
    tokens = 0

    def bare() -> None:
        nonlocal tokens
        batches = (texts[at : at + BATCH] for at in range(0, len(texts), BATCH))
        inner = tokenizer.backend_tokenizer
        tokens = sum(len(e.ids) for batch in batches for e in inner.encode_batch_fast(batch, add_special_tokens=False))

    def ours() -> None:
        for source in sources:
            with tempfile.TemporaryDirectory() as directory:
                tokeniser = Tokeniser(template, tokenizer, source, 1024, "truncate")
                tokenise(tokeniser, Path(directory), name=source.paths[0], limit=None, num_workers=None)

    timed(bare), timed(ours)
    times = np.array([[*timed(bare), *timed(ours)] for _ in range(ROUNDS)])
    bare_wall, _, our_wall, _ = np.median(times, axis=0)
    return {
        "rows": len(texts),
        "rows_per_second": len(texts) / our_wall,
        "tokens_per_second": tokens / our_wall,
        "bare_tokens_per_second": tokens / bare_wall,
        "ratio_wall": median(times[:, 0] / times[:, 2]),
        "ratio_cpu": median(times[:, 1] / times[:, 3]),
    }


def rendered(source: Source, template: Template, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The strings that the tokenizer gets."""
    texts = []
    for _, origin, record in source.records(None, []):
        example = parse(record, origin, format=source.format, columns=source.columns)
        assert isinstance(example, Dialogue)
        texts.append("".join(segment.text for segment in template.render(example, tokenizer)))
    return texts


def timed(function: Callable[[], None]) -> tuple[float, float]:
    """Seconds of wall-clock and of CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def packing(corpus: Corpus, data: Any) -> dict[str, float]:
    """Fill, time, and departure from the shares over any 50 packs, of one epoch."""
    sampler = data.sampler(corpus.train, packs_per_step=PACKS_PER_STEP, seed=0)
    steps, samples = sampler.steps(1.0), 0
    drawn = np.zeros((steps * PACKS_PER_STEP + 1, len(corpus.tasks)))
    began = time.process_time()
    packs = [pack for _ in range(steps) for pack in sampler.take()]
    seconds = time.process_time() - began
    for i, pack in enumerate(packs, start=1):
        for task, index in pack:
            drawn[i, task] += corpus.train.lengths(task)[index]
        samples += len(pack)
    totals = drawn.cumsum(0)
    spans = totals[50:] - totals[:-50]
    target = np.array(given(data, corpus))
    return {
        "samples": samples,
        "packs": len(packs),
        "fill": float(totals[-1].sum() / (len(packs) * data.seq_length)),
        "microseconds_per_sample": 1e6 * seconds / samples,
        "worst_departure_over_50_packs": float(np.abs(spans / spans.sum(1, keepdims=True) - target).max()),
    }


def given(data: Any, corpus: Corpus) -> list[float]:
    """The shares that the tasks should have: those said, or those of their sizes."""
    tokens = [corpus.train.num_tokens(task) for task in range(len(corpus.tasks))]
    said = [data.tasks[name]["share"] for name in corpus.tasks]
    return [n / sum(tokens) if share is None else share for n, share in zip(tokens, said, strict=True)]


def write_rows(path: Path, number: int) -> None:
    """Short dialogues, each another one."""
    path.mkdir()
    with (path / "train.jsonl").open("w", encoding="utf-8") as file:
        for i in range(number):
            rounds = [
                {"role": "human", "content": f"Write a function that adds {i} to x."},
                {"role": "bot", "content": f"def add_{i}(x):\n    return x + {i}" + "\n    # done" * (i % 9)},
            ]
            file.write(json.dumps({"chat_rounds": rounds}) + "\n")


def child(directory: Path, model: str) -> dict[str, float]:
    """The numbers that another process of this file prints."""
    command = [sys.executable, __file__, "child", str(directory), model]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]))


def prepare_or_start(directory: Path, model: str) -> dict[str, float]:
    """Load the rows of `directory`, as tokens from the cache if they are there, and draw packs; what that took."""
    data: Folders = component("data=folders", paths=[str(directory / "rows")], data_split=[1, 0, 0])
    template = component("template=mftcoder")
    tokenizer = AutoTokenizer.from_pretrained(model)
    before, peak = anonymous(), Peak()
    began = time.perf_counter()
    corpus = data.load(tokenizer=tokenizer, template=template, cache_dir=directory / "cache")
    loaded = time.perf_counter() - began
    sampler = data.sampler(corpus.train, packs_per_step=PACKS_PER_STEP, seed=0)
    if not (directory / "far").exists():
        build(plain(compose(config_name="prepare").audit)).report(corpus)
        go_far(sampler, directory / "far")
    sampler = data.sampler(corpus.train, packs_per_step=PACKS_PER_STEP, seed=0)
    began = time.perf_counter()
    steps = sampler.steps(1.0)
    sampler.take()
    started = time.perf_counter() - began
    began = time.perf_counter()
    other = data.sampler(corpus.train, packs_per_step=PACKS_PER_STEP, seed=0)
    other.load_state_dict(json.loads((directory / "far").read_text()))
    other.take()
    resumed = time.perf_counter() - began
    return {
        "load_seconds": loaded,
        "first_step_seconds": started,
        "resume_seconds": resumed,
        "peak_megabytes": (peak.stop() - before) / 2**20,
        "steps": steps,
    }


def go_far(sampler: Sampler, path: Path) -> None:
    """Take up to 10 000 steps, within the first epoch, and keep where the sampler then is."""
    for _ in range(min(10_000, sampler.steps(1.0)) - 1):
        sampler.take()
    path.write_text(json.dumps(sampler.state_dict()))


class Peak(threading.Thread):
    """Watches how much anonymous memory this process has."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = 0
        self.done = threading.Event()
        self.start()

    def run(self) -> None:
        """Look a hundred times a second."""
        while not self.done.wait(0.01):
            self.most = max(self.most, anonymous())

    def stop(self) -> int:
        """The most bytes seen."""
        self.done.set()
        self.join()
        return self.most


def anonymous() -> int:
    """Bytes of memory of this process that stand for no file."""
    after = Path("/proc/self/status").read_text().partition("RssAnon:")[2]
    return int(after.split(maxsplit=1)[0]) * 1024


def main(out: str | None, model: str, parts: list[str]) -> None:
    result: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "model": model,
    }
    with tempfile.TemporaryDirectory() as directory:
        if "packing" in parts:
            result |= packings(Path(directory), model)
        if "speed" in parts:
            sources = component("data=stdlib").sources(Path(directory)).values()
            bare = [Source(source.paths, source.format, source.columns) for source in sources]
            result["speed"] = speed(bare, component("template=mftcoder"), AutoTokenizer.from_pretrained(model))
    for rows in (part for part in parts if part.isdigit()):
        with tempfile.TemporaryDirectory() as directory:
            write_rows(Path(directory) / "rows", int(rows))
            result[f"cold/{rows}"] = child(Path(directory), model)
            result[f"warm/{rows}"] = child(Path(directory), model)
    print_tables(result)
    if out:
        Path(out).write_text(json.dumps(result, indent=1), encoding="utf-8")


def packings(root: Path, model: str) -> dict[str, dict[str, float]]:
    """How the corpus is packed, by its sizes and by shares, into short and into long packs."""
    result = {}
    for length in LENGTHS:
        data = component("data=stdlib", seq_length=length)
        tokenizer = AutoTokenizer.from_pretrained(model)
        corpus = data.load(tokenizer=tokenizer, template=component("template=mftcoder"), cache_dir=root)
        result[f"packing/{length}/natural"] = packing(corpus, data)
        for name, share in zip(corpus.tasks, SHARES, strict=True):
            data.tasks[name]["share"] = share
        result[f"packing/{length}/shares"] = packing(corpus, data)
    return result


def print_tables(result: dict[str, Any]) -> None:
    """A table for each kind of measurement."""
    kinds: dict[str, dict[str, dict[str, float]]] = {}
    for name, value in result.items():
        if isinstance(value, dict):
            kinds.setdefault(name.partition("/")[0], {})[name] = value
    for rows in kinds.values():
        columns = list(next(iter(rows.values())))
        print(f"\n| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
        for name, value in rows.items():
            print(f"| {name} | {' | '.join(f'{value[column]:.4g}' for column in columns)} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        print(json.dumps(prepare_or_start(Path(sys.argv[2]), sys.argv[3])))
    else:
        first = dict(enumerate(sys.argv[1:3]))
        parts = sys.argv[3:] or ["packing", "speed", *map(str, ROWS)]
        main(first.get(0), first.get(1, "models/smollm2-135m-instruct"), parts)
