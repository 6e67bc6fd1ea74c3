"""The newest run below a directory is found."""

from __future__ import annotations

import os
from pathlib import Path

from mftcoder.system.run_files import LATEST, newest_run


def test_a_directory_of_runs_stands_for_the_newest_that_has_a_checkpoint(tmp_path: Path) -> None:
    for index, name in enumerate(("2026-01-01", "2026-01-02", "2026-01-03")):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / "config.yaml").write_text("")
        if name != "2026-01-03":
            (tmp_path / name / "checkpoints" / "latest").write_text("step_000001")
            os.utime(tmp_path / name / "checkpoints" / "latest", (index, index))
    assert newest_run(tmp_path, having=LATEST) == tmp_path / "2026-01-02"
    assert newest_run(tmp_path / "2026-01-01", having=LATEST) == tmp_path / "2026-01-01"
    assert newest_run(tmp_path / "nowhere") is None
