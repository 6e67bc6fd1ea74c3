"""The end of a sweep: its jobs in a table, its choices compared, and a page that shows both."""

import pytest
import yaml
from written_run import write_run, write_sweep

from mftcoder.launch import sweep
from mftcoder.storage import status


def test_the_choices_are_compared_and_the_page_written(tmp_path, capsys):
    path = write_sweep(tmp_path / "sweep")
    sweep.show(path)
    printed = capsys.readouterr().out
    best = min(status.read(job).metric for job in path.glob("*-*"))
    assert f"{best:.6g}" in printed
    assert "against 1e-4, equal, one run each, so none is evidence" in printed
    assert "*" not in printed, "nothing is starred without evidence"
    assert "again" in printed, "what can be typed next"
    assert "model=tiny" not in printed, "what all jobs share tells nothing"
    assert "Jobs, the best first" in (path / "report.html").read_text(encoding="utf-8")
    assert (path / "0-abcdef00" / "report.html").is_file()


def test_what_seeds_are_evidence_of_has_a_star(tmp_path, capsys):
    for number, (balancer, seed) in enumerate((b, s) for b in ("equal", "famo") for s in (1, 2, 3)):
        slope = 0.02 + 0.001 * seed + (0.01 + 0.001 * seed if balancer == "famo" else 0)
        write_run(tmp_path / f"{number}-a", slope=slope, overrides=(f"balancer={balancer}", f"seed={seed}"))
    sweep.show(tmp_path)
    printed = capsys.readouterr().out
    (famo,) = [line for line in printed.splitlines() if line.strip().startswith("famo")]
    assert "lower" in famo
    assert "*" in famo


def test_jobs_come_by_number_and_after_them_those_with_a_name_of_the_users(tmp_path, capsys):
    """As with hydra.sweep.subdir=${hydra.job.override_dirname}."""
    for name in ("optimizer.lr=0.1,seed=2", "10-b", "balancer=coba", "9-a"):
        (tmp_path / name).mkdir()
        status.update(tmp_path / name, state="completed", metric=1.0)
    sweep.show(tmp_path)
    printed = capsys.readouterr().out
    places = [printed.index(name) for name in ("9-a", "10-b", "balancer=coba", "optimizer.lr=")]
    assert places == sorted(places)


@pytest.mark.parametrize("state", ["failed", "running"])
def test_jobs_without_a_result_are_told_but_not_drawn(tmp_path, capsys, state):
    (tmp_path / "0-a").mkdir()
    status.update(tmp_path / "0-a", state=state, reason="no model")
    sweep.show(tmp_path)
    assert "no model" in capsys.readouterr().out
    assert not (tmp_path / "report.html").exists()


def test_whatever_was_searched_can_be_read_off_a_terminal(tmp_path, capsys, monkeypatch):
    """Each value whole, though in several lines; a list is not taken for markup."""
    monkeypatch.setenv("COLUMNS", "80")
    long = "data.tasks.docstring_writing.weight=0.123456789"
    path = f"model.path=/{'deep/' * 40}end"
    for number, override in enumerate((long, path, "+tracker.wandb.tags=[a,b]")):
        job = tmp_path / f"{number}-{'x' * 8}"
        (job / ".hydra").mkdir(parents=True)
        (job / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump([override]))
        status.update(job, state="failed", reason=f"ValueError: no-such-{'file' * 30}")
    sweep.show(tmp_path)
    printed = capsys.readouterr().out
    assert "tags=[a,b]" in printed
    rows = [line.split("│") for line in printed.splitlines() if line.startswith("│")]
    folded = "".join(row[2].strip() for row in rows)
    assert long in folded
    assert path in folded
    assert max(map(len, printed.splitlines())) > 80


def test_a_sweep_that_never_began_says_nothing(tmp_path, capsys):
    sweep.show(tmp_path)
    assert capsys.readouterr().out == ""
