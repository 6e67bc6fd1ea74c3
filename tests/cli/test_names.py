"""What was meant by a name that does not exist."""

from __future__ import annotations

import pytest
import yaml

from mftcoder.cli import config
from mftcoder.cli.names import ALIASES, CHOICES, elsewhere, leaves
from mftcoder.core.errors import ConfigError


def faults(*overrides: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        config.load(*(f"++{override}" for override in overrides))
    return dict(fault.split(": ", 1) for fault in caught.value.faults)


def test_a_key_is_found_wherever_it_stands() -> None:
    found = faults(
        "lora_rank=8",
        "learning_rate=1e-4",
        "training.save_steps=5",
        "per_device_train_batch_size=2",
        "balancer.coba_tau=3",
        "data.paths=[x]",
        "optimizer.weigth_decay=1",
        "qqq=1",
        "zzz=2",
    )
    assert found.pop("qqq").startswith("not a parameter of train; its parameters: name, seed, ")
    assert found == {
        "lora_rank": "not a parameter of train; did you mean peft.lora_rank?",
        "learning_rate": "not a parameter of train; did you mean optimizer.lr?",
        "training.save_steps": "not a parameter of Settings; did you mean checkpoint.checkpointing_steps?",
        "per_device_train_batch_size": "not a parameter of train; did you mean training.per_device_train_batch_size?",
        "balancer.coba_tau": "not a parameter of Equal; a parameter of balancer=coba and balancer=coba_original",
        "data.paths": "not a parameter of Stdlib; a parameter of data=folders",
        "optimizer.weigth_decay": "not a parameter of AdamW; did you mean 'weight_decay'?",
        "zzz": "not a parameter of train",
    }


def test_an_alias_leads_to_what_exists() -> None:
    """Every name that others use finds its place in the default configuration, or the choice that has it."""
    tree = config.load()
    meant = {name: elsewhere(name, tree, config.conf_dir()) for name in ALIASES if name not in leaves(tree)}
    assert {name: found for name, found in meant.items() if found is None or not found.sure} == {}


@pytest.mark.parametrize(("group", "meant"), [(g, m) for g, names in CHOICES.items() for m in names.values()])
def test_an_alias_of_a_choice_is_a_choice(group: str, meant: str) -> None:
    first = meant.split(maxsplit=1)[0].rstrip(",")
    assert first.startswith(f"{group}=")
    file = config.conf_dir() / group / f"{first.partition('=')[2]}.yaml"
    assert isinstance(yaml.safe_load(file.read_text()), dict)
