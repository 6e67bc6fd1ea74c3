"""What README and docs say can be typed: it is understood, and the example is a balancer."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from mftcoder.cli import config
from mftcoder.cli.command import parse
from mftcoder.core.batch import TaskLosses

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
GROUPS = ("model", "peft", "quantization", "data", "template", "objective", "balancer", "optimizer", "scheduler")
GROUPS += ("engine", "tracker", "metric")


def commands() -> Iterator[str]:
    """Every line that begins with mftcoder, those that go on with a backslash in one, without its comment."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^    (?:\$ )?(mftcoder .*)$", text, re.MULTILINE):
            yield re.split(r"  +#", line)[0].split(" && ")[0].split(" > ")[0].strip()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with what README has one write."""
    place = tmp_path_factory.mktemp("reader")
    text = README.read_text(encoding="utf-8")
    (place / "mine.yaml").write_text(str(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1]))  # type: ignore[index]
    (place / "lab").mkdir()
    (place / "lab" / "inverse.py").write_text(str(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]))  # type: ignore[index]
    (place / "conf" / "balancer").mkdir(parents=True)
    (place / "conf" / "balancer" / "inverse.yaml").write_text("_target_: lab.inverse.Inverse\npower: 1.0\n")
    before = os.getcwd()
    os.chdir(place)
    command = parse(["mftcoder", "mine.yaml"])
    tree = config.compose(*command.overrides, config_dir=command.conf)
    for run in (place / "runs" / "mine" / "1", place / "RUN"):
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(OmegaConf.to_yaml(tree, resolve=True))
    yield place
    os.chdir(before)
    sys.path[:] = [entry for entry in sys.path if entry != str(place)]


def test_there_are_commands() -> None:
    assert len(list(commands())) > 20


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_a_command_is_understood(place: Path, line: str) -> None:
    if "lora_rnk" in line or "submitit" in line:
        pytest.skip("refused on purpose, or of a plugin that is not here")
    words = ["runs/mine/1" if word == "RUN" else word for word in shlex.split(line)]
    command = parse(words)
    if command.answer is not None or command.verb in ("runs", "migrate"):
        return
    overrides = [word.split(",")[0] if command.multirun and "[" not in word else word for word in command.overrides]
    overrides = [word for word in overrides if not word.startswith("hydra.")]
    tree = config.compose(*overrides, config_name=command.verb, config_dir=command.conf)
    if "engine" not in line and "qwen" not in line:
        config.check(tree)


def test_the_example_is_a_balancer_that_keeps_its_state(place: Path) -> None:
    command = parse(["mftcoder", "train", "mine.yaml", "balancer=inverse", "++trusted_targets=[lab]"])
    tree = config.check(config.compose(*command.overrides, config_dir=command.conf))
    one, other = config.build(tree["balancer"]), config.build(tree["balancer"])
    for balancer in (one, other):
        balancer.start(["a", "b"])
    one.observe(0, TaskLosses(total=torch.tensor([4.0, 2.0]).double(), count=torch.tensor([2.0, 2.0]).double()))
    other.load_state_dict(one.state_dict())
    assert other.weights(1, torch.ones(2)).tolist() == [0.5, 1.0]


def test_pages_are_short_and_narrow_and_their_links_lead_somewhere() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 200
    wide = {
        (page.name, n) for page in PAGES for n, line in enumerate(page.read_text().splitlines(), 1) if len(line) > 120
    }
    assert wide == set()
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)\)|(?:src|srcset)=\"([^\"]+)\"", page.read_text(encoding="utf-8")):
            assert (page.parent / (link[0] or link[1])).exists(), (page.name, link)


def test_the_list_of_groups_names_what_there_is() -> None:
    text = README.read_text(encoding="utf-8")
    for group in GROUPS:
        listed = re.search(rf"^    {group} +(.*(?:\n {{18}}.*)*)", text, re.MULTILINE)
        assert listed is not None, group
        choices = {file.stem for file in (config.conf_dir() / group).glob("[!_]*.yaml")}
        assert set(re.findall(r"\w+", listed[1])) <= choices, group
