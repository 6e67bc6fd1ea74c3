"""Runs of earlier versions are read with what has been added since."""

import pytest

from mftcoder.cli import config
from mftcoder.storage.resumption import differences
from mftcoder.storage.upgrade import upgraded


def saved_before():
    """What a run saved when it was `seed` that decided what is held out."""
    tree = config.load("data=folders", "data.paths=[a]", "seed=77")
    return tree | {"data": {key: value for key, value in tree["data"].items() if key != "split_seed"}}


def test_what_was_held_out_by_the_seed_still_is():
    data = config.build(upgraded(saved_before())["data"])
    assert data.split_seed == 77


def test_a_run_that_holds_out_the_same_is_no_other_run():
    now = config.load("data=folders", "data.paths=[a]", "seed=77", "data.split_seed=77")
    assert differences(saved_before(), now) == []
    assert differences(saved_before(), now | {"data": now["data"] | {"split_seed": 1}}) != []


@pytest.mark.parametrize("tree", [{}, {"data": None, "seed": 3}, {"data": {"_target_": "mine.Data"}}])
def test_other_trees_stay_as_they_are(tree):
    assert upgraded(tree) == tree


def test_a_run_that_was_trained_on_the_released_format_keeps_it():
    old = config.load("template=codefuse")["template"] | {"_target_": "mftcoder.template.mftcoder.MFTCoder"}
    assert upgraded({"template": old})["template"]["_target_"] == "mftcoder.template.codefuse.CodeFuse"
    new = config.load("template=mftcoder")["template"]
    assert upgraded({"template": new})["template"] == new
