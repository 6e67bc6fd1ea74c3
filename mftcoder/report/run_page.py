"""The page of one run: what came of it, its curves, its answers before and after, and its configuration."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from mftcoder.report.chart import Series, line_chart
from mftcoder.report.document import document, table
from mftcoder.report.record import Record, pairs

MEAN = 9  # the colour of what belongs to no single task


def run_page(run: Record) -> str:
    """The whole page as HTML."""
    sections = [
        _facts(run),
        _tasks(run),
        f'<div class="charts">{"".join(_charts(run))}</div>',
        _answers(run),
        f"<details><summary>configuration</summary><pre>{escape(run.config)}</pre></details>",
    ]
    return document(f"{run.path.parent.name} / {run.path.name}", "".join(sections))


def _facts(run: Record) -> str:
    state = run.status
    typed = " ".join(f"{key}={value}" for key, value in run.overrides.items())
    facts = {
        "state": "unknown" if state is None else state.state,
        "why": None if state is None else state.reason,
        "steps": f"{run.metrics[-1]['step']}" if run.metrics else None,
        "epochs": f"{run.metrics[-1].get('epoch', 0):.2f}" if run.metrics else None,
        "tokens": f"{run.metrics[-1].get('tokens', 0):,}" if run.metrics else None,
        "mean of the tasks' best losses": f"{state.metric:.4f}"
        if state is not None and state.metric is not None
        else None,
        "overrides": typed or None,
    }
    items = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts.items() if value is not None)
    return f"<dl>{items}</dl>"


def _tasks(run: Record) -> str:
    """First, best and last validation loss of each task, with the weight it really had."""
    rows = [_row(run, task, f"/{task}") for task in run.tasks]
    headings = ["task", "first", "best", "at step", "last", "change", "effective weight"]
    return "<h2>Validation loss</h2>" + table(headings, [*rows, _row(run, "mean of tasks", "")])


def _row(run: Record, name: str, suffix: str) -> list[str]:
    losses = run.series(f"valid/loss{suffix}")
    if not losses:
        return [name, *[""] * 6]
    step, best = run.best(f"valid/loss{suffix}")
    first, last = losses[0][1], losses[-1][1]
    weights = run.series(f"train/effective_weight{suffix}") if suffix else []
    weight = f"{weights[-1][1]:.3f}" if weights else ""
    return [name, f"{first:.4f}", f"{best:.4f}", f"{step:g}", f"{last:.4f}", f"{last - first:+.4f}", weight]


def _charts(run: Record) -> Iterable[str]:
    yield line_chart("validation loss", [*_by_task(run, "valid/loss"), _overall(run, "valid/loss", "mean of tasks")])
    yield line_chart("training loss", [*_by_task(run, "train/loss"), _overall(run, "train/loss", "objective")])
    effective = [
        Series(f"{s.name}, effective", s.points, s.colour, True) for s in _by_task(run, "train/effective_weight")
    ]
    yield line_chart("weights of the tasks", [*_by_task(run, "train/weight"), *effective])
    yield line_chart("learning rate", [_overall(run, "learning_rate", "learning rate")])
    yield line_chart("gradient norm", [*_by_task(run, "train/gradient_norm"), _overall(run, "grad_norm", "all")])
    throughput = [("tokens_per_second", "all", 0), ("supervised_tokens_per_second", "supervised", 1)]
    yield line_chart("tokens a second", [Series(name, run.series(metric), c) for metric, name, c in throughput])
    yield line_chart("gradient cosines between tasks", _cosines(run))
    yield line_chart("peak memory in bytes", [_overall(run, "memory_bytes", "memory")])


def _by_task(run: Record, prefix: str) -> list[Series]:
    return [Series(task, run.series(f"{prefix}/{task}"), i % MEAN) for i, task in enumerate(run.tasks)]


def _overall(run: Record, metric: str, name: str) -> Series:
    return Series(name, run.series(metric), MEAN)


def _cosines(run: Record) -> list[Series]:
    prefix = "train/gradient_cosine/"
    names = list(dict.fromkeys(name for line in run.metrics for name in line if name.startswith(prefix)))
    return [Series(name.removeprefix(prefix), run.series(name), i % MEAN) for i, name in enumerate(names)]


def _answers(run: Record) -> str:
    blocks = []
    for before, after in pairs(run.samples):
        texts = {f"step {before['step']}": before["answer"], f"step {after['step']}": after["answer"]}
        columns = {**texts, "reference": before["reference"]}
        cells = "".join(f"<div><h4>{escape(h)}</h4><pre>{escape(t)}</pre></div>" for h, t in columns.items())
        prompt = f"<pre>{escape(before['prompt'])}</pre>"
        blocks.append(f'<h3>{escape(before["task"])}</h3>{prompt}<div class="answers">{cells}</div>')
    return f"<h2>Answers before and after</h2>{''.join(blocks)}" if blocks else ""
