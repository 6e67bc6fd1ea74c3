"""What an evaluation leaves on disk: results.json, and samples.jsonl with every answer."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mftcoder.evaluation.scores import Scored
from mftcoder.metric.base import Answered
from mftcoder.statistics.intervals import Interval
from mftcoder.system.files import write_text

RESULTS, SAMPLES = "results.json", "samples.jsonl"


def write_results(run_dir: Path, rows: Iterable[Scored], about: Mapping[str, Any]) -> None:
    """Write results.json: what was evaluated, and by task and metric the value, the other model's and the verdict.

    Numbers are scores as the metrics define them (parts of 1, nats a token, …); null where there is none.

    Args:
        run_dir: where it goes.
        rows: the scores.
        about: what was evaluated.
    """
    tasks: dict[str, dict[str, Any]] = {}
    for row in rows:
        entry: dict[str, Any] = dict(_interval(row.value))
        if row.before is not None and row.verdict is not None:
            said = row.verdict
            entry |= {
                "before": _interval(row.before),
                "difference": _interval(said.difference),
                "p": said.p,
                "corrected_p": said.corrected_p,
                "change": said.change,
                "verdict": said.words,
            }
        tasks.setdefault(row.task, {})[row.name] = entry
    write_text(run_dir / RESULTS, json.dumps({**about, "tasks": tasks}, indent=1, ensure_ascii=False) + "\n")


def write_samples(
    run_dir: Path, samples: Sequence[Answered], before: Sequence[Answered] | None, names: Sequence[str]
) -> list[dict[str, Any]]:
    """Write samples.jsonl, an object for each sample, and return them.

    Args:
        run_dir: where it goes.
        samples: as the model answers them.
        before: the same, as the other does.
        names: of the model, and of the other.
    """
    lines = [_line(sample, names[0]) for sample in samples]
    for line, other in zip(lines, before or (), strict=before is not None):
        line["models"] |= _line(other, names[1])["models"]
    write_text(run_dir / SAMPLES, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return lines


def _line(sample: Answered, model: str) -> dict[str, Any]:
    said: dict[str, Any] = {"answers": list(sample.answers)} if sample.answers else {}
    if sample.tokens:
        said["nats"] = _finite(sample.nats)
    if sample.passed:
        said |= {"passed": list(sample.passed), "outcomes": list(sample.outcomes)}
    return {
        "task": sample.task,
        "key": sample.key,
        "prompt": sample.prompt,
        "reference": sample.reference,
        "tokens": sample.tokens,
        "models": {model: said},
    }


def _interval(found: Interval) -> dict[str, float | int | None]:
    bounds = {name: _finite(getattr(found, name)) for name in ("estimate", "low", "high")}
    return {**bounds, "samples": found.samples}


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
