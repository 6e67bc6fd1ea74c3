"""What a run learns from, as a short string for each task, by which a changed file is noticed."""

from __future__ import annotations

import json
from pathlib import Path

from mftcoder.data.corpus.cache import MANIFEST
from mftcoder.data.corpus.tables import TABLE, Corpus


def digests(corpus: Corpus) -> dict[str, str]:
    """The digest of each task's tokens, all splits of them, as the cache has noted it; by the name of the task.

    Tasks that are not from the cache are left out.
    """
    directories = {
        task: Path(facts["quarantine"]).parent for task, facts in corpus.report.items() if "quarantine" in facts
    }
    return {
        task: json.loads((directory / MANIFEST).read_text(encoding="utf-8"))["files"][TABLE][1]
        for task, directory in directories.items()
    }
