"""Jobs over seeds are one row; their numbers are means over the seeds."""

import json
from statistics import mean, stdev

from written_run import write_run

from mftcoder.report.record import read
from mftcoder.report.repeats import headings, repeats, spread
from mftcoder.report.sweep_page import sweep_page

SLOPES = {("equal", "1"): 0.01, ("equal", "2"): 0.02, ("coba", "1"): 0.03, ("coba", "2"): 0.05}


def jobs(path):
    for number, ((balancer, seed), slope) in enumerate(SLOPES.items()):
        write_run(path / f"{number}-a", slope=slope, overrides=(f"balancer={balancer}", f"seed={seed}", "model=tiny"))
    return [read(job) for job in sorted(path.iterdir())]


def test_jobs_are_grouped_by_all_but_their_seed_the_best_first(tmp_path):
    groups = repeats(jobs(tmp_path))
    assert [group.settings for group in groups] == [{"balancer": "coba"}, {"balancer": "equal"}]
    assert [[job.overrides["seed"] for job in group.jobs] for group in groups] == [["1", "2"]] * 2


def test_a_row_holds_means_over_the_seeds(tmp_path):
    records = jobs(tmp_path)
    equal = repeats(records)[1]
    tasks = records[0].tasks
    row = dict(zip(headings(tasks), equal.row(tasks), strict=True))
    of_jobs = [job.metrics[-1]["valid/loss"] for job in records[:2]]
    code = mean(job.metrics[-1]["valid/loss/code"] for job in records[:2])
    assert row["code, best / final"] == f"{code:.3f} / {code:.3f}"
    assert row["mean, best"] == row["mean, final"] == f"{mean(of_jobs):.3f} ± {stdev(of_jobs):.3f}"
    assert (row["best step, mean of tasks"], row["from first to last"]) == ("40", "0")


def test_a_task_without_validation_losses_has_an_empty_cell_and_no_part_in_the_means(tmp_path):
    """As where all of its samples are for training."""
    for job in jobs(tmp_path):
        lines = [{k: v for k, v in line.items() if k != "valid/loss/code"} for line in job.metrics]
        (job.path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    records = [read(job) for job in sorted(tmp_path.iterdir())]
    coba, equal = repeats(records)
    assert (coba.settings, equal.settings) == ({"balancer": "coba"}, {"balancer": "equal"})
    tasks = records[0].tasks
    row = dict(zip(headings(tasks), equal.row(tasks), strict=True))
    docs = [job.metrics[-1]["valid/loss/docs & <notes>"] for job in records[:2]]
    assert row["code, best / final"] == ""
    assert row["mean, best"] == spread(docs)
    assert "Over the seeds" in sweep_page(tmp_path, records)


def test_one_value_has_no_spread():
    assert spread([1.5]) == "1.500"


def test_the_page_of_a_sweep_shows_seeds_together_only_where_there_are_some(tmp_path):
    records = jobs(tmp_path)
    assert "Over the seeds" in sweep_page(tmp_path, records)
    assert "Over the seeds" not in sweep_page(tmp_path, [records[0], records[2]])
