"""The verb `prepare`: tokenises all tasks, audits them, or shows what the model will see of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from rich.table import Table
from rich.text import Text

from mftcoder.core.rng import Seed
from mftcoder.core.terminal import table, terminal
from mftcoder.data.corpus.audit import Audit, Report
from mftcoder.data.mixture import Mixture
from mftcoder.data.records.source import SPLITS
from mftcoder.data.tokens.preview import LEGEND, LEGEND_OF_MARKS, previews
from mftcoder.model.causal_lm import CausalLM
from mftcoder.template.base import Template


def prepare(
    *,
    name: str,
    seed: Seed,
    cache_dir: str,
    model: CausalLM,
    data: Mixture,
    template: Template,
    audit: Audit,
    show: int,
    run_dir: Path,
) -> None:
    """Tokenise every task into the cache that runs use, or print `show` dialogues of each task and do nothing else.

    Writes audit.json, and quarantine.jsonl with the records that could not be used, into run_dir. name: of the
    directory that runs go to. Raises UserError for records, or for what the audit found, beyond what the
    configuration allows.
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
    console.print(records(report), samples(report), alike(report))
    audit.check(report)


def quarantined(report: Report) -> Iterator[str]:
    """A line for each record that could not be used: its task, origin, reason and beginning."""
    for name, task in report.items():
        with Path(task["records"]["quarantine"]).open(encoding="utf-8") as lines:
            yield from (json.dumps({"task": name, **json.loads(line)}, ensure_ascii=False) + "\n" for line in lines)


def records(report: Report) -> Table:
    """What became of the records of each task."""
    fates = ("read", "used", "malformed", "cut", "split", "dropped", "empty")
    caption = "cut, split, dropped: for their length; empty: nothing to learn"
    shown = table("task", *fates, title="records", caption=caption)
    for name, task in report.items():
        shown.add_row(name, *(str(task["records"][fate]) for fate in fates))
    return shown


def samples(report: Report) -> Table:
    """How many samples each task has, and how long they are."""
    caption = "lengths: how many have up to so many tokens, then up to twice as many …; answers: most of one"
    shown = table("task", *SPLITS, "median", "longest", "lengths", "answers", title="samples", caption=caption)
    for name, task in report.items():
        tokens = task["tokens"]
        numbers = [task[split]["samples"] for split in SPLITS]
        cells = [*numbers, tokens["median"], tokens["max"], bars(tokens["at_most"]), task["answers"]["max"]]
        shown.add_row(name, *map(str, cells))
    return shown


def alike(report: Report) -> Table:
    """How many samples of each task are like others."""
    caption = "of the task itself, of another task, of training though held out; ~ nearly, among those compared"
    kinds = ("within", "across", "leaked")
    shown = table("task", *kinds, *(f"~{kind}" for kind in kinds), title="like others", caption=caption)
    for name, task in report.items():
        exact, near = task["duplicates"]["exact"], task["duplicates"].get("near", {})
        shown.add_row(name, *(str(exact[kind]) for kind in kinds), *(str(near.get(kind, "")) for kind in kinds))
    return shown


def bars(at_most: Mapping[str, int]) -> str:
    """A histogram over powers of two in one line, after the first of them."""
    if not at_most:
        return ""
    powers = [int(top).bit_length() - 1 for top in at_most]
    heights = [at_most.get(str(2**power), 0) for power in range(min(powers), max(powers) + 1)]
    return f"{2 ** min(powers)} " + "".join(" ▁▂▃▄▅▆▇█"[-(-8 * height // max(heights))] for height in heights)
