"""The wheel: it carries all presets and data files, and what it installs runs without the repository."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (path,) = out.glob("*.whl")
    assert re.fullmatch(r"mftcoder-\d+\.\d+\.\d+-py3-none-any\.whl", path.name)
    return zipfile.ZipFile(path)


def below(directory: str, pattern: str) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / directory).rglob(pattern)}


@pytest.mark.slow
def test_every_module_preset_and_data_file_is_in_it_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    presets = {f"mftcoder/{name}" for name in below("conf", "*.yaml")}
    files = (below("mftcoder", pattern) for pattern in ("*.py", "*.json", "*.css", "*.js", "py.typed"))
    assert names == set().union(*files) | presets | below("hydra_plugins", "*.py")
    assert "mftcoder/model/tiny_tokenizer.json" in names


@pytest.mark.slow
def test_it_installs_the_command_and_names_what_it_needs(wheel: zipfile.ZipFile) -> None:
    (entry_points,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    parser = configparser.ConfigParser()
    parser.read_string(wheel.read(entry_points).decode())
    assert dict(parser["console_scripts"]) == {"mftcoder": "mftcoder.__main__:main"}
    metadata = wheel.read(entry_points.replace("entry_points.txt", "METADATA")).decode()
    assert "Requires-Python: >=3.10" in metadata
    assert "Requires-Dist: hydra-core<1.4,>=1.3.8" in metadata


@pytest.mark.slow
def test_what_it_installs_composes_a_run_outside_the_repository(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "site")
    run = subprocess.run(
        [sys.executable, "-m", "mftcoder", "--cfg", "job", "peft=qlora"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "_target_: mftcoder.peft.lora.LoRA" in run.stdout
    assert "_target_: mftcoder.quantization.nf4.NF4" in run.stdout


def test_everything_that_the_extras_name_is_pinned() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = text[text.index("dependencies = [") : text.index("[project.scripts]")]
    needed = {re.split(r"[<>=\[]", quoted)[0].lower() for quoted in re.findall(r'"([^"]+)"', listed)} - {"mftcoder"}
    pins = re.findall(r"^([a-z0-9-]+)==\S+", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert needed <= set(pins)
    assert re.search(r"^torch==2\.13\.0$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
