import pytest
import yaml

from mftcoder.cli.config import conf_dir, load
from mftcoder.core.errors import ConfigError
from mftcoder.training.settings import Settings


def settings(**changes):
    values = yaml.safe_load((conf_dir() / "train.yaml").read_text())["training"]
    assert values.pop("_target_") == "mftcoder.training.settings.Settings"
    return Settings(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"log_interval": 0},
            "training.log_interval: 0 is neither a number of steps (an int from 1) "
            "nor a fraction of the run (0.0 < f < 1.0)",
        ),
        ({"sample_tokens": 0}, "training.sample_tokens: 0 is not above 0"),
        ({"max_grad_norm": float("nan")}, "training.max_grad_norm: nan is not above 0"),
        ({"sample_generations": -1}, "training.sample_generations: -1 is below 0, which is for none"),
        ({"frozen_weight": -1.0}, "training.frozen_weight: -1.0 is not a share from 0 to 1"),
        ({"frozen_weight": 1.5}, "training.frozen_weight: 1.5 is not a share from 0 to 1"),
        ({"frozen_weight": float("nan")}, "training.frozen_weight: nan is not a share from 0 to 1"),
        ({"loss_spike_factor": -3.0}, "training.loss_spike_factor: -3.0 is not above 0"),
        (
            {"loss_spike_factor": 1.0},
            "training.loss_spike_factor: 1.0 is not above 1, so that any loss would be a spike",
        ),
        (
            {"early_stopping_on": []},
            "training.early_stopping_on: [] names no task; give mean, all, any, or names of tasks",
        ),
    ],
)
def test_what_cannot_be_is_refused(changes, fault):
    with pytest.raises(ValueError, match="training") as caught:
        settings(**changes)
    assert str(caught.value) == fault


def test_all_faults_are_told_at_once():
    with pytest.raises(ValueError, match="training") as caught:
        settings(sample_generations=-2, frozen_weight=2.0, anomaly_limit=0, evaluation_steps=-1)
    assert len(str(caught.value).splitlines()) == 4


def test_the_ends_of_what_can_be_pass():
    settings(
        sample_generations=0, frozen_weight=0.0, loss_spike_factor=1.01, evaluation_steps=None, max_train_steps=None
    )
    settings(frozen_weight=1.0)


OWN = ("data=folders", "data.paths=[my/add,my/sub.jsonl]", "+data.tasks.words.path=somewhere")


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["training.early_stopping_on=[test_writin]"], "no task named test_writin; the tasks are bug_repair, "),
        ([*OWN, "training.early_stopping_on=[ad,words,b]"], "no task named ad, b; the tasks are add, sub, words"),
    ],
)
def test_early_stopping_on_tasks_that_there_are_not_is_refused(words, fault):
    with pytest.raises(ConfigError, match=fault):
        load(*words)


@pytest.mark.parametrize("named", ["[add,words]", "any", "mean"])
def test_early_stopping_on_tasks_that_there_are_passes(named):
    assert load(*OWN, f"training.early_stopping_on={named}")
