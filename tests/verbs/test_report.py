"""The verb report: a page a run that needs nothing else, and one for a sweep that leads to those of its jobs."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from written_run import write_run, write_sweep

from mftcoder.core.errors import UserError
from mftcoder.verbs.report import report


class Page(HTMLParser):
    """The cells of the tables, the titles of the figures, and what would be fetched."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.titles: list[str] = []
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self._inside: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")
        self.fetched += [
            value or "" for name, value in attrs if name in ("src", "srcset") or (tag, name) == ("link", "href")
        ]
        self.links += [value or "" for name, value in attrs if (tag, name) == ("a", "href")]

    def handle_endtag(self, tag: str) -> None:
        while self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "td" in self._inside:
            self.rows[-1][-1] += data
        if self._inside and self._inside[-1] == "figcaption":
            self.titles.append(data)
        if not {"style", "script"} & set(self._inside):
            self.text += data


def test_a_runs_page_holds_its_numbers_curves_and_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_run(tmp_path / "run")
    report(name="report", run=str(path), format="html")
    assert capsys.readouterr().out == f"{path / 'report.html'}\n"
    page = Page(path / "report.html")
    first, last = 2.1, 2 * math.exp(-0.8) + 0.1
    row = ["code", f"{first:.4f}", f"{last:.4f}", "40", f"{last:.4f}", f"{last - first:+.4f}", "0.600"]
    assert row in page.rows
    assert page.titles == [
        "Validation loss",
        "Training loss",
        "Weights of the tasks; dashed: effective",
        "Learning rate",
        "Gradient norm",
        "Tokens a second",
        "Peak memory in GB",
    ]
    for text in (
        "docs & <notes>",
        "write <b>add</b>",
        "I can not.",
        "return a + b",
        "lr: 0.001",
        "seed=3",
        "completed",
    ):
        assert text in page.text


def test_a_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run")
    report(name="report", run=str(path), format="html")
    assert Page(path / "report.html").fetched == []
    fetching = re.findall(
        r"url\(|@import|fetch\(|https?://(?!www\.w3\.org/2000/svg)", (path / "report.html").read_text()
    )
    assert fetching == []


def test_a_sweeps_page_ranks_its_jobs_and_leads_to_their_pages(tmp_path: Path) -> None:
    path = write_sweep(tmp_path / "sweep")
    report(name="report", run=str(path), format="html")
    page = Page(path / "report.html")
    assert [row[:3] for row in page.rows if row and "-abcdef" in row[0]] == [
        ["3-abcdef03", "1e-3", "coba"],
        ["2-abcdef02", "1e-3", "equal"],
        ["1-abcdef01", "1e-4", "coba"],
        ["0-abcdef00", "1e-4", "equal"],
    ]
    assert all("tiny" not in row for row in page.rows), "model=tiny is the same in all jobs"
    assert page.titles == [
        "Validation loss minus that of 1e-4, equal: left of 0 is better; bars hold the mean at 95 %",
        "Validation loss, mean of the tasks",
        "All jobs, the best of them strongest; losses: lower is better",
    ]
    assert "One run each: no spread is known" in page.text
    assert len(page.links) == 4
    assert all((path / link).is_file() for link in page.links)


def test_a_job_without_a_result_stands_last_and_is_in_no_comparison(tmp_path: Path) -> None:
    path = write_sweep(tmp_path / "sweep")
    (path / "3-abcdef03" / "status.json").write_text('{"state": "failed", "reason": "out of memory"}')
    report(name="report", run=str(path), format="html")
    page = Page(path / "report.html")
    assert page.rows[-1][0] == "3-abcdef03"
    assert page.rows[-1][3] == "failed: out of memory"
    assert len(re.findall(r'class="job"', (path / "report.html").read_text())) == 3


def test_a_job_that_failed_before_it_logged_anything_is_in_the_table(tmp_path: Path) -> None:
    path = write_sweep(tmp_path / "sweep")
    early = path / "4-abcdef04"
    early.mkdir()
    (early / "status.json").write_text('{"state": "failed", "reason": "no such file: x"}')
    report(name="report", run=str(path), format="html")
    page = Page(path / "report.html")
    (row,) = [row for row in page.rows if row[:1] == ["4-abcdef04"]]
    assert "failed: no such file: x" in row
    assert (early / "report.html").is_file()
    assert len(re.findall(r'class="job"', (path / "report.html").read_text())) == 4


def test_an_empty_run_has_a_page_too(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("")
    report(name="report", run=str(tmp_path), format="html")
    assert "unknown" in Page(tmp_path / "report.html").text


def test_what_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run=.*/nowhere: no such directory"):
        report(name="report", run=str(tmp_path / "nowhere"), format="html")
