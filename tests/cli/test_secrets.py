"""What is secret by its name, and that it is nowhere else either."""

from __future__ import annotations

import json

import pytest
import yaml

from mftcoder.cli import secrets

ODD = 'x"y\\SECRET-väl'


@pytest.mark.parametrize(
    "key",
    [
        *("api_key", "apikey", "apikeys", "openai_key", "wandb_key", "wandb_api_key", "token", "HF_TOKEN", "hub_token"),
        *("password", "db_passwd", "client_secret", "secretary", "credentials", "key"),
    ],
)
def test_secret_names(key: str) -> None:
    tree = {"a": [{key: "x"}], "b": {key: ["one", "two"]}}
    assert secrets.masked(tree) == {"a": [{key: "***"}], "b": {key: ["***", "***"]}}
    assert secrets.restored(secrets.masked(tree), json.loads(json.dumps(secrets.find(tree)))) == tree


@pytest.mark.parametrize(
    "key", ["eos_token", "pad_token", "stop_tokens", "tokenizer", "tokenization", "_target_", "padding_mode"]
)
def test_names_that_are_no_secrets(key: str) -> None:
    assert secrets.masked({key: "x"}) == {key: "x"}


def test_numbers_are_secret_under_names_of_passwords_alone() -> None:
    tree = {"max_new_tokens": 512, "num_key_value_heads": 8, "password": 1234567, "use_token": True}
    assert secrets.masked(tree) == tree | {"password": "***"}
    assert secrets.restored(secrets.masked(tree), secrets.find(tree)) == tree


def test_users_add_names() -> None:
    tree = {"secret_keys": ["*login*"], "wandb_login": "me:pw-of-me", "url": "https://me:pw-of-me@host"}
    assert secrets.masked(tree) == tree | {"wandb_login": "***", "url": "https://***@host"}


def test_a_value_is_masked_inside_other_values_too_and_comes_back() -> None:
    tree = {"api_key": "SECRET", "url": "https://u:SECRET@h/", "list": [["a SECRET b"]]}
    assert secrets.masked(tree) == {"api_key": "***", "url": "https://u:***@h/", "list": [["a *** b"]]}
    assert secrets.restored(secrets.masked(tree), secrets.find(tree)) == tree


def test_short_values_are_masked_by_their_key_alone() -> None:
    tree = {"api_key": "a", "name": "banana"}
    assert secrets.masked(tree) == {"api_key": "***", "name": "banana"}
    assert secrets.scrub("banana", ["a"]) == "banana"


def test_quotes_and_backslashes_are_found_where_they_are_escaped() -> None:
    for text in (json.dumps({"a": f"x {ODD}"}), yaml.safe_dump([f"x {ODD}"], allow_unicode=True), ODD):
        assert "SECRET" not in secrets.scrub(text, [ODD])


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("template.variables.api_key=SECRET", "template.variables.api_key=***"),
        ("+template.variables={api_key: SECRET}", "+template.variables=***"),
        ('+template.variables={a: 1, \'hub_token\': "x\\"SECRET"}', "+template.variables=***"),
        ("a={b: {password: SECRET}}", "a=***"),
        ("a.password=SECRET,OTHER", "a.password=***"),
        ("url=https://u:SECRET@h", "url=https://u:***@h"),
        ("optimizer.lr=1e-4", "optimizer.lr=1e-4"),
        ("data.tasks={code: {weight: 2}}", "data.tasks={code: {weight: 2}}"),
        ("-m", "-m"),
    ],
)
def test_words_of_the_command_line(word: str, shown: str) -> None:
    assert secrets.masked_override(word, ["SECRET"]) == shown
