"""Five tasks cut out of the running Python's standard library: real code on any machine, without a network."""

from __future__ import annotations

import sys
import sysconfig
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mftcoder.core.errors import UserError
from mftcoder.data.corpus.cache import cached
from mftcoder.data.corpus.fingerprint import of_code
from mftcoder.data.exercises.cutting import cut
from mftcoder.data.exercises.tasks import TASKS
from mftcoder.data.mixture import Mixture
from mftcoder.data.records.source import Source


@dataclass(kw_only=True)
class Stdlib(Mixture):
    """The standard library as code completion, bug repair, text-to-code, docstring writing and test writing.

    A top-level module belongs to one split with all its functions and their tests, so that nothing is learnt that is
    asked for later. The same for the same version of Python.
    """

    def sources(self, cache_dir: Path) -> dict[str, Source]:
        """The tasks as JSONL with chat_rounds, cut now or before."""
        unknown = [name for name in self.tasks if name not in TASKS or "path" in self.tasks[name]]
        if unknown:
            raise UserError(f"data.tasks: no {', '.join(unknown)} here; there are {', '.join(TASKS)}, without a path")
        library = Path(sysconfig.get_path("stdlib"))
        key = {
            "python": sys.version,
            "library": str(library),
            "data_split": self.data_split,
            "code": of_code(cut.__module__),
        }
        root = cached(cache_dir, "stdlib", key, partial(cut, library, self.data_split))
        return {name: Source((str(root / name),), format="chat_rounds", columns={}) for name in self.tasks}
