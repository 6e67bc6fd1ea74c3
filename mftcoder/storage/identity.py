"""What tells one run from another, and whether a checkpoint was saved by the same one."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mftcoder.core.errors import UserError
from mftcoder.storage import resumption
from mftcoder.storage.snapshot import CONFIG
from mftcoder.system import manifest
from mftcoder.system.files import write_text

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A run's directory, and what a resuming run must have in common with the one that saved.

    Args:
        run_dir: shared by all ranks.
        config: the resolved configuration, JSON values only.
        facts: what else must agree: `packs_per_step`, the packs of a global batch; `gradient_accumulation_steps`, the
            portions that they come in; and `data`, a digest of each task's tokens.
    """

    run_dir: Path
    config: Mapping[str, Any]
    facts: Mapping[str, Any]

    def find(self, resume: str, *, force: bool) -> Path | None:
        """The step that `resume` selects, or None to begin anew; pointers to an earlier run's best step are taken over.

        Raises:
            UserError: see `Session.restore`.
        """
        step = resumption.find(resume, self.run_dir)
        if step is not None:
            self._compare(step, refuse_settings=resume == "auto", force=force)
            self._inherit_best(step.parent)
        return step

    def _compare(self, step: Path, *, refuse_settings: bool, force: bool) -> None:
        """Say where this is not the run that saved `step`, and refuse to take it for the same one."""
        config, facts = json.loads((step / CONFIG).read_text(encoding="utf-8")), manifest.read(step)
        data = resumption.other_data(facts, self.facts)
        settings = [*resumption.differences(config, self.config), *resumption.other_batch(facts, self.facts)]
        if not data and not settings:
            return
        message = "\n".join([f"{step} was saved by a run that differs:", *settings, *data])
        if (data or refuse_settings) and not force:
            raise UserError(f"{message}\nresume_force=true goes on all the same, resume=none begins anew")
        log.warning(message)

    def _inherit_best(self, directory: Path) -> None:
        """Keep pointing to the best step so far where that belongs to an earlier run."""
        pointer, own = directory / "best", self.run_dir / resumption.STEPS
        if directory != own and pointer.is_file():
            best = (directory / resumption.pointed(pointer)).resolve()
            write_text(own / "best", str(best))
