"""The page of one run: what came of it, its curves, its answers before and after, and its configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from mftcoder.report.chart import OVERALL, Series, line_chart
from mftcoder.report.document import document, facts, fold, table
from mftcoder.report.record import Record, pairs

SHORT = 300  # characters of a prompt that is not folded


def run_page(run: Record) -> str:
    """The whole page as HTML."""
    sections = [
        _facts(run),
        _tasks(run),
        f'<div class="charts">{"".join(_charts(run))}</div>',
        f'<div class="charts small">{"".join(_small_charts(run))}</div>',
        _answers(run),
        fold("Configuration", f"<pre>{escape(run.config)}</pre>"),
    ]
    return document(f"{run.path.parent.name} / {run.path.name}", "".join(sections))


def _facts(run: Record) -> str:
    state, last = run.status, run.metrics[-1] if run.metrics else {}
    losses = run.series("valid/loss")
    fell = ""
    if losses:
        (_, first), (step, best) = losses[0], run.best("valid/loss")
        fell = f"{first:.4f} → {best:.4f} ({best - first:+.4f}) at step {step:g}"
    return facts(
        {
            "state": "unknown" if state is None else state.state,
            "why": None if state is None else state.reason,
            "validation loss, mean of tasks": fell,
            "trained": _trained(last) if last else None,
            "model": run.model,
            "data": run.data,
            "overrides": " ".join(f"{key}={value}" for key, value in run.overrides.items()),
            "date": run.date,
            "git": run.git,
            "command": run.command,
        }
    )


def _trained(last: Mapping[str, Any]) -> str:
    return f"{last['step']} steps, {last.get('epoch', 0):.2f} epochs, {last.get('tokens', 0):,} tokens"


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


def loss_chart(run: Record) -> str:
    """The chart of the validation losses."""
    return line_chart("Validation loss", [*_by_task(run, "valid/loss"), _overall(run, "valid/loss", "mean of tasks")])


def _charts(run: Record) -> Iterable[str]:
    yield loss_chart(run)
    yield line_chart("Training loss", [*_by_task(run, "train/loss"), _overall(run, "train/loss", "objective")])
    effective = [Series("", s.points, s.colour, True) for s in _by_task(run, "train/effective_weight")]
    yield line_chart("Weights of the tasks; dashed: effective", [*_by_task(run, "train/weight"), *effective])
    yield line_chart("Gradient cosines between tasks", _cosines(run))


def _small_charts(run: Record) -> Iterable[str]:
    yield line_chart("Learning rate", [_overall(run, "learning_rate", "")])
    yield line_chart("Gradient norm", [*_by_task(run, "train/gradient_norm"), _overall(run, "grad_norm", "all")])
    throughput = [("tokens_per_second", "all", 0), ("supervised_tokens_per_second", "supervised", 1)]
    yield line_chart("Tokens a second", [Series(name, run.series(metric), c) for metric, name, c in throughput])
    memory = [(step, value / 1e9) for step, value in run.series("memory_bytes")]
    yield line_chart("Peak memory in GB", [Series("", memory, OVERALL)])


def _by_task(run: Record, prefix: str) -> list[Series]:
    return [Series(task, run.series(f"{prefix}/{task}"), i) for i, task in enumerate(run.tasks)]


def _overall(run: Record, metric: str, name: str) -> Series:
    return Series(name, run.series(metric), OVERALL)


def _cosines(run: Record) -> list[Series]:
    prefix = "train/gradient_cosine/"
    names = list(dict.fromkeys(name for line in run.metrics for name in line if name.startswith(prefix)))
    return [Series(name.removeprefix(prefix), run.series(name), i) for i, name in enumerate(names)]


def _answers(run: Record) -> str:
    blocks = []
    for before, after in pairs(run.samples):
        texts = {f"step {before['step']}": before["answer"], f"step {after['step']}": after["answer"]}
        columns = {**texts, "reference": before["reference"]}
        cells = "".join(f"<div><h4>{escape(h)}</h4><pre>{escape(t)}</pre></div>" for h, t in columns.items())
        prompt = _prompt(before["prompt"])
        blocks.append(f'<h3>{escape(before["task"])}</h3>{prompt}<div class="answers">{cells}</div>')
    return f"<h2>Answers before and after</h2>{''.join(blocks)}" if blocks else ""


def _prompt(text: str) -> str:
    """A prompt, folded where it is long."""
    whole = f"<pre>{escape(text)}</pre>"
    if len(text) <= SHORT:
        return whole
    return fold(f"Prompt, {len(text):,} characters", whole)
