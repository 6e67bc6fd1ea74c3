"""The verb `prepare`: tokenises all tasks, audits them, or shows what the model will see of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from rich.table import Table
from rich.text import Text

from mftcoder.core.rng import Seed
from mftcoder.data.corpus.audit import Audit, Report
from mftcoder.data.corpus.tables import Corpus
from mftcoder.data.mixture import Mixture
from mftcoder.data.records.source import SPLITS
from mftcoder.data.stream.forecast import Forecast, forecast
from mftcoder.data.tokens.preview import LEGEND, LEGEND_OF_MARKS, previews
from mftcoder.model.causal_lm import CausalLM
from mftcoder.system.terminal import table, terminal
from mftcoder.template.base import Template

Described = tuple[Table, list[str]]  # a table, and the lines of its legend, for 80 columns


def prepare(
    *,
    name: str,
    seed: Seed,
    cache_dir: str,
    model: CausalLM,
    data: Mixture,
    template: Template,
    audit: Audit,
    packs_per_step: int,
    show: int,
    run_dir: Path,
) -> None:
    """Tokenises every task into the cache that runs use, or prints some dialogues and does nothing else.

    Writes audit.json, and quarantine.jsonl with the records that are not used, into run_dir.

    Args:
        name: of the directory that runs go to.
        seed: of the order of the stream.
        cache_dir: of the tokens.
        model: whose tokenizer is used.
        data: the tasks.
        template: renders the dialogues.
        audit: what is counted, and refused.
        packs_per_step: of the run to come, over all processes.
        show: dialogues of each task to print; 0 tokenises.
        run_dir: where everything goes.

    Raises:
        UserError: records cannot be used, or the audit found more than the configuration allows.
    """
    console = terminal()
    tokenizer = model.tokenizer()
    if show > 0:
        console.print(Text.assemble(*LEGEND, LEGEND_OF_MARKS))
        too_long = None if data.padding_mode == "concat" else data.too_long
        preview = partial(previews, template=template, tokenizer=tokenizer, number=show, seq_length=data.seq_length)
        for task, source in data.sources(Path(cache_dir)).items():
            console.rule(task)
            for text in preview(source, too_long=too_long):
                console.print(text, soft_wrap=True)
        return
    corpus = data.load(tokenizer=tokenizer, template=template, cache_dir=Path(cache_dir))
    report = audit.report(corpus)
    (run_dir / "audit.json").write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
    (run_dir / "quarantine.jsonl").write_text("".join(quarantined(report)), encoding="utf-8")
    sampler = data.sampler(corpus.train, packs_per_step=packs_per_step, seed=seed)
    ahead = forecast(sampler, corpus.train, corpus.weights)
    for shown, legend in (records(report), samples(report), alike(report), mixture(corpus, ahead, packs_per_step)):
        console.print(shown)
        console.print(Text("\n".join(legend) + "\n"))
    audit.check(report)


def quarantined(report: Report) -> Iterator[str]:
    """A line for each record that is not used: its task, origin, reason and beginning."""
    for name, task in report.items():
        with Path(task["records"]["quarantine"]).open(encoding="utf-8") as lines:
            yield from (json.dumps({"task": name, **json.loads(line)}, ensure_ascii=False) + "\n" for line in lines)


def records(report: Report) -> Described:
    """What became of the records of each task."""
    fates = ("read", "used", "malformed", "cut", "split", "dropped", "empty")
    shown = table("task", *fates, title="records")
    for name, task in report.items():
        shown.add_row(name, *(str(task["records"][fate]) for fate in fates))
    return shown, [
        "malformed: cannot be read",
        "cut: turns at the end were left out, to fit data.seq_length",
        "split: made into several samples, to fit data.seq_length",
        "dropped: too long, and no turn of it fits",
        "empty: nothing in it is supervised",
        "quarantine.jsonl names the malformed, dropped and empty",
    ]


def samples(report: Report) -> Described:
    """How many samples each task has, and how long they are."""
    shown = table("task", *SPLITS, "median", "longest", "lengths", "answers", title="samples")
    for name, task in report.items():
        tokens = task["tokens"]
        numbers = [task[split]["samples"] for split in SPLITS]
        cells = [*numbers, tokens["median"], tokens["max"], bars(tokens["at_most"]), task["answers"]["max"]]
        shown.add_row(name, *map(str, cells))
    return shown, [
        "median, longest: tokens of a sample",
        "lengths: a bar for the samples of up to so many tokens, then of twice as many",
        "answers: most supervised answers in one sample",
    ]


def alike(report: Report) -> Described:
    """How many samples of each task are like others."""
    kinds = ("within", "across", "leaked")
    shown = table("task", *kinds, *(f"~{kind}" for kind in kinds), title="duplicates")
    for name, task in report.items():
        exact, near = task["duplicates"]["exact"], task["duplicates"].get("near", {})
        shown.add_row(name, *(str(exact[kind]) for kind in kinds), *(str(near.get(kind, "")) for kind in kinds))
    return shown, [
        "within: the same tokens as an earlier sample of the same task and split",
        "across: the same tokens as a sample of another task",
        "leaked: held out, but the same tokens as a training sample",
        "~within, ~across, ~leaked: nearly the same (audit.near_duplicates), of those",
        "  that were compared (audit.num_compared of each task and split)",
    ]


def mixture(corpus: Corpus, ahead: Forecast, packs_per_step: int) -> Described:
    """What a run will draw of each task, and how much of the loss each will make up."""
    shown = table("task", "tokens", "supervised", "share", "weight", "effective", title="training")
    weights = np.array(corpus.weights) / sum(corpus.weights)
    for task, name in enumerate(corpus.tasks):
        counts = (f"{corpus.train.num_tokens(task):,}", f"{corpus.train.num_targets(task):,}")
        parts = (ahead.shares[task], weights[task], ahead.effective_weights[task])
        shown.add_row(name, *counts, *(f"{part:.3f}" for part in parts))
    return shown, [
        f"{ahead.steps_per_epoch:,} steps an epoch, of packs_per_step={packs_per_step} packs and about "
        f"{ahead.tokens_per_step:,.0f} tokens",
        "supervised: tokens that are targets of the loss",
        "share: of the tokens drawn; weight: of the loss, as data.tasks says",
        "effective: the weight that comes out with an equal or fixed balancer, since a",
        "  task that is absent from a step leaves its weight to the others;",
        "  data.stratified=true or objective.normalization=expected makes it the weight",
    ]


def bars(at_most: Mapping[str, int]) -> str:
    """A histogram over powers of two in one line, after the first of them."""
    if not at_most:
        return ""
    powers = [int(top).bit_length() - 1 for top in at_most]
    heights = [at_most.get(str(2**power), 0) for power in range(min(powers), max(powers) + 1)]
    return f"{2 ** min(powers)} " + "".join(" ▁▂▃▄▅▆▇█"[-(-8 * height // max(heights))] for height in heights)
