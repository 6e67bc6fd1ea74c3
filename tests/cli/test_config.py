"""Faults of configurations: each is named with its path, value and remedy, all at once, before anything is built."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from mftcoder.cli import config
from mftcoder.core.errors import ConfigError

MILD = {"_target_": "toy_parts.Mild", "heat": 0.5, "spoons": 2, "rest": None, "mode": "stir"}
ADAMW = {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 1e-3, "betas": [0.9, 0.99]}


def tree(**changes: Any) -> dict[str, Any]:
    """A good config of toy_parts.cook, with changes; a value of ... removes its key."""
    good = {
        "_target_": "toy_parts.cook",
        "trusted_targets": ["toy_parts"],
        "dish": "soup",
        "sauce": MILD,
        "sauces": {},
        "optimizer": ADAMW,
        "amounts": {"salt": 1},
        "steps": [],
        "pair": [1, 2.5],
        "notes": None,
    }
    return {key: value for key, value in (good | changes).items() if value is not ...}


def faults(**changes: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.check(tree(**changes))
    return caught.value.faults


def test_a_good_config_comes_back_as_plain_values() -> None:
    good = tree()
    assert config.check(OmegaConf.create(good)) == good
    assert type(config.check(OmegaConf.create(good))["sauce"]) is dict


def test_all_faults_are_reported_in_one_message() -> None:
    with pytest.raises(ConfigError) as caught:
        config.check(
            tree(dsih="soup", sauce=MILD | {"rest": "soon", "spoons": 3.5}, optimizer=ADAMW | {"weigth_decay": 0})
        )
    assert str(caught.value) == (
        "4 faults in the configuration:\n"
        "  dsih: not a parameter of cook; did you mean 'dish'?\n"
        "  sauce.spoons: 3.5 is not int\n"
        "  sauce.rest: 'soon' is not int | None\n"
        "  optimizer.weigth_decay: not a parameter of AdamW; did you mean 'weight_decay'?"
    )


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"dish": 3}, "dish: 3 is not str"),
        ({"dish": None}, "dish: None is not str"),
        ({"dish": "???"}, "dish: missing; give dish=<str>"),
        ({"dish": ...}, "dish: missing; give dish=<str>"),
        ({"run_dir": "here"}, "run_dir: not a parameter of cook; its parameters: "),
        ({"sauce": MILD | {"heat": "fast"}}, "sauce.heat: 'fast' is not float"),
        ({"sauce": MILD | {"heat": True}}, "sauce.heat: True is not float"),
        ({"sauce": MILD | {"spoons": True}}, "sauce.spoons: True is not int"),
        ({"sauce": MILD | {"mode": "shak"}}, "sauce.mode: 'shak' is not 'stir' | 'shake'; did you mean 'shake'?"),
        ({"sauce": MILD | {"_recursive_": False}}, "sauce._recursive_: not a parameter of Mild; "),
        ({"sauce": MILD | {"_partial_": "yes"}}, "sauce._partial_: 'yes' is not bool"),
        ({"sauce": "mild"}, "sauce: 'mild' is not Sauce | None; choose one with sauce=<choice>"),
        ({"sauce": {"heat": 1.0}}, "sauce: {'heat': 1.0} is not Sauce | None; choose one with sauce=<choice>"),
        (
            {"sauce": {"_target_": "toy_parts.Spoon"}},
            "sauce: Spoon is not Sauce | None; choose one with sauce=<choice>",
        ),
        ({"sauce": MILD | {"_partial_": True}}, "sauce: a partial Mild is not Sauce | None; "),
        ({"sauces": {"red": {"_target_": "toy_parts.Spoon"}}}, "sauces.red: Spoon is not Sauce"),
        ({"sauces": {"red": MILD | {"spoons": "2"}}}, "sauces.red.spoons: '2' is not int"),
        ({"sauces": {1: MILD}}, "sauces: the key 1 is not str"),
        ({"sauces": None}, "sauces: None is not dict[str, Sauce]"),
        ({"optimizer": {"_target_": "toy_parts.Hot", "_partial_": True}}, "optimizer: a partial Hot is not "),
        ({"optimizer": ADAMW | {"lr": "fast"}}, "optimizer.lr: 'fast' is not float | Tensor"),
        ({"optimizer": ADAMW | {"betas": [0.9]}}, "optimizer.betas: [0.9] has 1 entries instead of 2"),
        ({"amounts": {"salt": "much"}}, "amounts.salt: 'much' is not float"),
        ({"amounts": 3}, "amounts: 3 is not dict[str, float] | list[float]"),
        ({"steps": [{"minutes": 1}]}, "steps: [{'minutes': 1}] is not list[float] | list[Step]"),
        ({"pair": [1, "2"]}, "pair[1]: '2' is not float"),
        ({"pair": {"a": 1}}, "pair: {'a': 1} is not tuple[int, float]"),
    ],
)
def test_the_fault_is_named(changes: dict[str, Any], fault: str) -> None:
    found = faults(**changes)
    assert len(found) == 1, found
    assert found[0].startswith(fault), found
    assert found[0] == fault or fault.endswith((" ", "; "))


@pytest.mark.parametrize(
    "changes",
    [
        {"sauce": None},
        {"sauce": MILD | {"heat": 3}},
        {"sauces": {"red": MILD, "blue": {"_target_": "toy_parts.Hot"}}},
        {"amounts": [1, 2.5]},
        {"steps": [0.5]},
        {"steps": [{"minutes": 1, "what": "stir"}]},
        {"notes": {"any": ["thing", {"at": "all"}]}},
        {"optimizer": ADAMW | {"lr": 1, "foreach": None}},
    ],
)
def test_what_fits_passes(changes: dict[str, Any]) -> None:
    assert config.check(tree(**changes)) == tree(**changes)


def test_an_interpolation_that_leads_nowhere_is_a_fault() -> None:
    with pytest.raises(ConfigError, match=r"dish: Interpolation key 'nowhere' not found"):
        config.check(OmegaConf.create(tree(dish="${nowhere}")))


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package whose import leaves a trace."""
    sung = tmp_path / "sung"
    (tmp_path / "canary.py").write_text(f"open({str(sung)!r}, 'w').close()\ndef sing(): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield sung
    sys.modules.pop("canary", None)


@pytest.mark.parametrize("place", ["sauce", "notes", "sauces"])
def test_a_foreign_target_is_refused_before_it_is_imported(canary: Path, place: str) -> None:
    node = {"_target_": "canary.sing"}
    assert faults(**{place: {"inner": node} if place != "sauce" else node}) == [
        f"{place}{'' if place == 'sauce' else '.inner'}._target_: 'canary.sing' is not in a trusted package "
        "(mftcoder, torch.optim, bitsandbytes.optim, toy_parts); ++trusted_targets=[canary] trusts it, if you do"
    ]
    assert not canary.exists()
    assert "canary" not in sys.modules


def test_a_trusted_target_is_imported(canary: Path) -> None:
    config.check(tree(notes={"_target_": "canary.sing"}, trusted_targets=["toy_parts", "canary"]))
    assert canary.exists()


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("os.system", "'os.system' is not in a trusted package ("),
        ("mftcoders.x", "'mftcoders.x' is not in a trusted package ("),
        ("torch.optim.optimizer.functools.partial", "'torch.optim.optimizer.functools.partial' cannot be imported: "),
        ("torch.optim.optimizer.warnings", "'torch.optim.optimizer.warnings' comes from None, which is not in a "),
        ("torch.optim.optimizer.deepcopy", "'torch.optim.optimizer.deepcopy' comes from copy, which is not in a "),
        (
            "mftcoder.cli.config.TRUSTED",
            "'mftcoder.cli.config.TRUSTED' comes from None, which is not in a trusted package",
        ),
        ("mftcoder.cli.config.build", "'mftcoder.cli.config.build' is not a public class"),
        ("mftcoder.storage.serialize._decode", "'mftcoder.storage.serialize._decode' is not a public class"),
        ("mftcoder.balancer.equal.Equal", "'mftcoder.balancer.equal.Equal' stands where no component is expected"),
        ("mftcoder.balancer.equal.Equals", "'mftcoder.balancer.equal.Equals' does not exist: "),
        ("mftcoder.balancer.equals.Equal", "'mftcoder.balancer.equals.Equal' cannot be imported: No module named "),
        ("toy_parts.anything", "'toy_parts.anything' takes any argument, so that none can be checked; "),
        (None, "None is not the dotted name of a class or function"),
    ],
)
def test_a_target_that_cannot_be_used(target: str | None, fault: str) -> None:
    (found,) = faults(notes={"_target_": target})
    assert found.startswith(f"notes._target_: {fault}")


@pytest.mark.parametrize("trusted", ["toy_parts", [1], None])
def test_trusted_targets_is_a_list_of_names(trusted: Any) -> None:
    assert faults(trusted_targets=trusted) == [f"trusted_targets: {trusted!r} is not list[str]"]


def test_trusted_targets_count_at_the_root_alone() -> None:
    node = MILD | {"trusted_targets": ["canary"], "mode": "stir"}
    assert faults(sauce=node)[0].startswith("sauce.trusted_targets: not a parameter of Mild; ")


def test_what_a_constructor_refuses_is_a_fault_of_the_config() -> None:
    sauces = {"red": MILD | {"heat": -2}}
    assert faults(sauce=MILD | {"heat": -1.0}, sauces=sauces) == [
        "sauce: heat: -1.0 is below 0",
        "sauces.red: heat: -2 is below 0",
    ]


def test_what_an_optimizer_refuses_is_a_fault_before_anything_is_loaded() -> None:
    with pytest.raises(ConfigError) as error:
        config.load("optimizer.lr=-1")
    assert error.value.faults == ["optimizer: Invalid learning rate: -1"]


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("seed=-2", "seed: -2 is not int >= 0 < 9223372036854775808"),
        ("seed=99999999999999999999999", "seed: 99999999999999999999999 is not int >= 0 < 9223372036854775808"),
        ("optimizer.lr=1e400", "optimizer.lr: inf is not float | Tensor"),
        ("checkpoint.saving_limit=0", "checkpoint.saving_limit: 0 is not int >= 1 | None"),
    ],
)
def test_limits_of_numbers_are_said_with_the_value(override: str, fault: str) -> None:
    with pytest.raises(ConfigError) as error:
        config.load(override)
    assert error.value.faults == [fault]


def test_only_verbs_are_roots() -> None:
    with pytest.raises(ConfigError, match=r"'mftcoder.cli.config.build' is not a verb, which are in mftcoder.verbs"):
        config.check({"_target_": "mftcoder.cli.config.build", "tree": {}})


def test_what_does_not_go_together_is_a_fault_of_the_config() -> None:
    hot = {"_target_": "toy_parts.Hot"}
    assert faults(sauce=hot, dish="cake") == ["sauce: a hot sauce does not go with dish=cake"]
    config.check(tree(sauce=hot))


def test_build_makes_the_objects_with_plain_arguments() -> None:
    verb, parts = config.verb(config.check(tree(dish="a ${price} soup", pair=[1, 2])))
    assert verb.__name__ == "cook"
    assert parts["sauce"].settings == (0.5, 2, None, "stir")
    assert parts["dish"] == "a ${price} soup"
    assert isinstance(parts["optimizer"], partial)
    made = parts["optimizer"]([torch.nn.Parameter(torch.zeros(1))])
    assert made.defaults["lr"] == 1e-3
    assert "trusted_targets" not in parts


def test_load_composes_and_checks(tmp_path: Path) -> None:
    (tmp_path / "dinner.yaml").write_text(OmegaConf.to_yaml(tree()))
    assert config.load("dish=stew", config_name="dinner", config_dir=tmp_path)["dish"] == "stew"
    with pytest.raises(ConfigError, match="sede: not a parameter of cook"):
        config.load("+sede=3", config_name="dinner", config_dir=tmp_path)
