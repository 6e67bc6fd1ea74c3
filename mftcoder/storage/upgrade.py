"""Settings that runs of earlier versions saved, with what has been added since at the value that they had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FOLDERS = "mftcoder.data.folders.Folders"
CODEFUSE = "mftcoder.template.codefuse.CodeFuse"
MFTCODER = "mftcoder.template.mftcoder.MFTCoder"
STDLIB = "mftcoder.data.stdlib.Stdlib"


def upgraded(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a saved run as this version would have saved them.

    - data.split_seed was the run's `seed`.
    - data.max_record_bytes, a bound that there was none of, is the default.
    - What is template=codefuse was the class MFTCoder.

    Args:
        tree: the whole configuration, resolved.
    """
    new = dict(tree)
    data = tree.get("data")
    if isinstance(data, Mapping) and data.get("_target_") in (FOLDERS, STDLIB):
        new["data"] = {"split_seed": tree.get("seed"), "max_record_bytes": 1 << 26, **data}
    template = tree.get("template")
    if isinstance(template, Mapping) and template.get("_target_") == MFTCODER and "input_end" not in template:
        new["template"] = {**template, "_target_": CODEFUSE}
    return new
