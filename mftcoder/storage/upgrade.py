"""Settings that runs of earlier versions saved, with what has been added since at the value that they had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FOLDERS = "mftcoder.data.folders.Folders"
STDLIB = "mftcoder.data.stdlib.Stdlib"


def upgraded(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a saved run as this version would have saved them.

    - data.split_seed was the run's `seed`.

    Args:
        tree: the whole configuration, resolved.
    """
    new = dict(tree)
    data = tree.get("data")
    if isinstance(data, Mapping) and data.get("_target_") in (FOLDERS, STDLIB):
        new["data"] = {"split_seed": tree.get("seed"), **data}
    return new
