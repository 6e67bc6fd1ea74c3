"""The digest of each task is that of its tokens, however they were made."""

import json

from mftcoder.cli import config

TASKS = ("code", "talk")


def written(root, **answers):
    """A directory for each task, with two records."""
    for task in TASKS:
        (root / task).mkdir(parents=True)
        texts = ("one", answers.get(task, "two"))
        rounds = [[{"role": "human", "content": "?"}, {"role": "bot", "content": text}] for text in texts]
        (root / task / "all.jsonl").write_text("".join(json.dumps({"chat_rounds": some}) + "\n" for some in rounds))
    return root


def made(root, tokenizer, *overrides):
    paths = ",".join(str(root / task) for task in TASKS)
    tree = config.load("data=folders", f"data.paths=[{paths}]", "data.data_split=[1,0,0]", *overrides)
    template = config.build(tree["template"])
    data = config.build(tree["data"])
    return data.load(tokenizer=tokenizer, template=template, cache_dir=root / "cache").digests()


def test_equal_tokens_have_equal_digests_and_a_changed_word_another(tmp_path, tokenizer):
    first = made(written(tmp_path / "a"), tokenizer)
    assert list(first) == list(TASKS)
    assert made(written(tmp_path / "b"), tokenizer, "data.num_workers=1") == first
    changed = made(written(tmp_path / "c", talk="too"), tokenizer)
    assert changed["code"] == first["code"]
    assert changed["talk"] != first["talk"]
    assert made(tmp_path / "a", tokenizer, "template=alpaca") != first
