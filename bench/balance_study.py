"""What did each balancer come to? The table of the README, out of a sweep of experiment=balance_study.

    python launch.py experiment=balance_study
    python bench/balance_study.py runs/balance_study/sweep-…

A row is a balancer, its numbers are means over the seeds: lowest and last validation loss of each task, the mean over
the tasks of these with its standard deviation between seeds, the step at which the tasks were at their best on
average, and how many steps lay between the first and the last task to get there.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mftcoder.report.record import read
from mftcoder.report.repeats import headings, repeats


def main() -> None:
    jobs = [read(file.parent) for file in sorted(Path(sys.argv[1]).glob("*/metrics.jsonl"))]
    tasks = list(dict.fromkeys(task for job in jobs for task in job.tasks))
    titles = ["balancer", "runs", *headings(tasks)]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for group in repeats(jobs):
        print(f"| {' | '.join([*group.settings.values(), str(len(group.jobs)), *group.row(tasks)])} |")


if __name__ == "__main__":
    main()
