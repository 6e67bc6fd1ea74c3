"""Settings of a toy verb, as a directory."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from command_line import MANY, NONE, ROOT, SWEEP, TOY

from mftcoder.cli.config import conf_dir


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A conf directory with the verb `toy`; the working directory is a new one."""
    conf = tmp_path / "conf"
    (conf / "engine").mkdir(parents=True)
    (conf / "toy.yaml").write_text(TOY)
    (conf / "engine" / "none.yaml").write_text(NONE)
    (conf / "engine" / "many.yaml").write_text(MANY)
    (conf / "sweep").mkdir()
    (conf / "sweep" / "two.yaml").write_text(SWEEP)
    shutil.copytree(conf_dir() / "hydra", conf / "hydra")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT / "tests" / "support", ROOT))))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    return conf
