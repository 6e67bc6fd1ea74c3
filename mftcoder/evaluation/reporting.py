"""Runs, scores, compares, prints and keeps what models made of the same samples."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from mftcoder.evaluation.benchmark_evaluation import BenchmarkEvaluation
from mftcoder.evaluation.executing import executed
from mftcoder.evaluation.gate import Gate, GateFailed, checked
from mftcoder.evaluation.page import PAGE, evaluation_page
from mftcoder.evaluation.results import write_results, write_samples
from mftcoder.evaluation.scores import Scored, scored
from mftcoder.evaluation.table import gate_table, score_table
from mftcoder.evaluation.task_evaluation import TaskEvaluation
from mftcoder.metric.base import Answered
from mftcoder.sandbox.sandbox import Sandbox
from mftcoder.system.files import write_text
from mftcoder.system.terminal import terminal

log = logging.getLogger(__name__)


def report_scores(
    evaluation: TaskEvaluation | BenchmarkEvaluation,
    results: Mapping[str, Sequence[Answered]],
    sandbox: Sandbox | None,
    gate: Gate,
    run_dir: Path,
) -> float:
    """Print the scores and keep them in `run_dir`.

    Args:
        evaluation: of which the models' results are.
        results: by model, its losses and answers; the first is evaluated, the second compared with.
        sandbox: where answers are run; None where they may not be.
        gate: what the model has to pass.
        run_dir: where results.json, samples.jsonl and the page go.

    Returns:
        The mean over the tasks of their losses in nats a token, or the first score where there are none.

    Raises:
        GateFailed: where it does not pass.
    """
    names = list(results)
    seen = {
        name: samples if sandbox is None else executed(samples, evaluation.programs(samples), sandbox)
        for name, samples in results.items()
    }
    samples, before = seen[names[0]], seen[names[1]] if len(names) > 1 else None
    rows = scored(samples, before, evaluation.metrics, noun=evaluation.noun)
    losses = mean_losses(samples, list(evaluation.metrics))
    demands = checked(gate, rows)
    about = {
        "models": names,
        "title": evaluation.title,
        "losses": losses,
        "gate": [asdict(demand) for demand in demands],
    }
    write_results(run_dir, rows, about)
    lines = write_samples(run_dir, samples, before, names)
    write_text(run_dir / PAGE, evaluation_page(evaluation.title, names, rows, demands, lines))
    terminal().print(score_table(rows, names, evaluation.title))
    if demands:
        terminal().print(gate_table(demands))
    if failed := [f"{demand.task}.{demand.name}" for demand in demands if not demand.passed]:
        error = GateFailed(f"gate: worse than allowed beyond chance: {', '.join(failed)}; see {run_dir}")
        log.error("%s", error)
        raise error
    return losses["valid/loss"] if losses else _first(rows)


def mean_losses(samples: Sequence[Answered], tasks: Sequence[str]) -> dict[str, float]:
    """valid/loss/<task> of each task in nats a token, and valid/loss, the mean of these; nothing without losses."""
    means = {}
    for task in tasks:
        own = [sample for sample in samples if sample.task == task and sample.tokens]
        if own:
            means[f"valid/loss/{task}"] = sum(sample.nats for sample in own) / sum(sample.tokens for sample in own)
    return {"valid/loss": sum(means.values()) / len(means), **means} if means else {}


def _first(rows: Sequence[Scored]) -> float:
    return rows[0].value.estimate if rows else float("nan")
