"""What a run learns from, as a short string for each task, by which a changed file is noticed."""

from __future__ import annotations

from pathlib import Path

from mftcoder.core import manifest
from mftcoder.data.corpus.cache import HASHED
from mftcoder.data.corpus.tables import TABLE, Corpus


def digests(corpus: Corpus) -> dict[str, str]:
    """The digest of each task's tokens, all splits of them, as the cache has noted it; by the name of the task.

    Tasks that are not from the cache are left out.
    """
    directories = {
        task: Path(facts["quarantine"]).parent for task, facts in corpus.report.items() if "quarantine" in facts
    }
    return {task: manifest.read(directory)["files"][TABLE][HASHED] for task, directory in directories.items()}
