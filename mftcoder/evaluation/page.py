"""The page of an evaluation: scores with verdicts, and answers side by side, to be filtered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from mftcoder.evaluation.gate import Checked
from mftcoder.evaluation.scores import Scored
from mftcoder.evaluation.table import between, number
from mftcoder.report.document import document, table

PAGE = "evaluation.html"
SHOWN = 1000  # answered samples on a page; samples.jsonl has all

# Shows the samples of the chosen task, and where asked only those whose verdict changed.
FILTER = """
const [task, change] = document.querySelectorAll("#filter select");
const show = () => {
  let number = 0;
  for (const sample of document.querySelectorAll("section.sample")) {
    sample.hidden = (task.value && sample.dataset.task !== task.value)
      || (change.value && sample.dataset.change !== change.value);
    number += sample.hidden ? 0 : 1;
  }
  document.querySelector("#filter output").textContent = `${number} samples`;
};
task.addEventListener("change", show);
change.addEventListener("change", show);
show();
"""
CHANGES = {"": "all", "gained": "fails, then passes", "lost": "passes, then fails", "same": "as before"}


def evaluation_page(
    title: str,
    names: Sequence[str],
    rows: Sequence[Scored],
    demands: Sequence[Checked],
    lines: Sequence[Mapping[str, Any]],
) -> str:
    """The whole page as HTML.

    Args:
        title: what was evaluated.
        names: of the model, and of the other where there is one.
        rows: the scores.
        demands: of the gate.
        lines: of samples.jsonl.
    """
    answered = [line for line in lines if any("answers" in said for said in line["models"].values())]
    roles = zip(("model", "against"), names, strict=False)
    parts = [
        f"<p>{'; '.join(f'{role}: {escape(name)}' for role, name in roles)}</p>",
        _scores(rows, compared=len(names) > 1),
        _gate(demands),
        _answers(answered, names) if answered else "",
    ]
    return document(f"Evaluation, {title}", "".join(parts))


def _scores(rows: Iterable[Scored], *, compared: bool) -> str:
    headings = ["task", "metric", "samples", *(["against"] if compared else []), "model", "95 %"]
    cells = []
    for row in rows:
        before = [number(row.metric, row.before) if row.before else ""] if compared else []
        said = [row.verdict.words if row.verdict else ""] if compared else []
        shown = number(row.metric, row.value), between(row.metric, row.value)
        cells.append([row.task, row.name, f"{row.value.samples:,}", *before, *shown, *said])
    return table([*headings, *(["verdict"] if compared else [])], cells)


def _gate(demands: Sequence[Checked]) -> str:
    if not demands:
        return ""
    cells = [
        [d.task, d.name, *(f"{n:+.4f}" for n in (d.allowed, d.change, d.at_best)), "passed" if d.passed else "failed"]
        for d in demands
    ]
    return "<h2>Gate</h2>" + table(["task", "metric", "allowed", "measured", "at best", "gate"], cells)


def _answers(lines: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    tasks = {"": "all", **{line["task"]: line["task"] for line in lines}}
    kept = lines[:SHOWN]
    left = f" (the first {SHOWN:,} of {len(lines):,})" if len(kept) < len(lines) else ""
    filters = (
        f'<p id="filter"><label>task {_select(tasks)}</label> <label>verdict {_select(CHANGES)}</label> '
        "<output></output></p>"
    )
    samples = "".join(_sample(line, names) for line in kept)
    return f"<h2>Answers{left}</h2>{filters}{samples}<script>{FILTER}</script>"


def _select(options: Mapping[str, str]) -> str:
    inside = "".join(f'<option value="{escape(value)}">{escape(shown)}</option>' for value, shown in options.items())
    return f"<select>{inside}</select>"


def _sample(line: Mapping[str, Any], names: Sequence[str]) -> str:
    """One sample: its prompt, the answers of both models, the reference."""
    columns = [(name, text) for name in reversed(names) for text in _said(line["models"].get(name, {}))]
    columns.append(("reference", line["reference"]))
    cells = "".join(f"<div><h4>{escape(head)}</h4><pre>{escape(text)}</pre></div>" for head, text in columns)
    return (
        f'<section class="sample" data-task="{escape(line["task"])}" data-change="{change(line, names)}">'
        f"<h3>{escape(line['task'])} {escape(line['key'])}</h3><pre>{escape(line['prompt'])}</pre>"
        f'<div class="answers">{cells}</div></section>'
    )


def _said(model: Mapping[str, Any]) -> Iterable[str]:
    """Each answer, with what became of it where it was run."""
    outcomes = model.get("outcomes") or [""] * len(model.get("answers", ()))
    for answer, outcome in zip(model.get("answers", ()), outcomes, strict=True):
        yield f"{answer}\n\n[{outcome}]" if outcome else answer


def change(line: Mapping[str, Any], names: Sequence[str]) -> str:
    """gained, lost or same: by the tests where answers were run, else by whether they are the reference."""
    if len(names) < 2:
        return "same"
    after, before = (_right(line["models"].get(name, {}), line["reference"]) for name in names[:2])
    return "gained" if after > before else "lost" if after < before else "same"


def _right(model: Mapping[str, Any], reference: str) -> float:
    """The part of answers that are right."""
    answers = model.get("answers") or [""]
    passed = model.get("passed") or [answer.strip() == reference.strip() for answer in answers]
    return float(sum(passed) / len(passed))
