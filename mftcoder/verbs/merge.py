"""The verb `merge`: one adapter out of several that were trained on the same base."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mftcoder.core.errors import ConfigError, raise_faults
from mftcoder.model.merging import LowRank, Method, combined, concatenated, factorised, padded
from mftcoder.model.weights import ADAPTER
from mftcoder.storage import resumption, snapshot
from mftcoder.storage.adapters import CONFIG, Adapter, read_adapter, write_adapter
from mftcoder.storage.restored import weights_of
from mftcoder.system import environment, manifest
from mftcoder.system.files import staged, write_text
from mftcoder.system.terminal import program, table, terminal

TOKENIZER = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*", "vocab*", "merges.txt")
SUMS = ("linear", "task_arithmetic")  # of which the result is a product of low rank itself


@dataclass(frozen=True, slots=True)
class Input:
    """An adapter that is merged.

    Attributes:
        place: its directory.
        coefficient: its part of the result.
        adapter: what is in it.
    """

    place: Path
    coefficient: float
    adapter: Adapter


def merge(
    *,
    name: str,
    inputs: list[str],
    method: Method,
    coefficients: list[float] | None,
    density: float,
    lora_rank: int | None,
    seed: int,
    output: str | None,
    run_dir: Path,
) -> None:
    """Combine the updates of several adapters, and write the result as a step that other verbs take.

    Args:
        name: of the directory that runs go to.
        inputs: runs, steps, pointers such as <run>/checkpoints/best, or directories with an adapter.
        method: how updates are combined, see mftcoder.model.merging.
        coefficients: one for each input; None: all alike, with sum 1.
        density: what ties and dare keep of each update.
        lora_rank: of the result; None: as high as no update loses anything by it, at most the sum of the inputs' ranks.
        seed: of dare's random choice.
        output: the new directory; None: a step in the run's directory.
        run_dir: of this merge.

    Raises:
        ConfigError: the inputs or numbers name no merge; all faults at once.
    """
    coefficients = coefficients if coefficients is not None else [1 / len(inputs) for _ in inputs]
    target = Path(output) if output is not None else run_dir / resumption.STEPS / snapshot.name_of(0)
    raise_faults(_faults(inputs, coefficients, method, density, lora_rank, target), ConfigError)
    places = [weights_of(text) for text in inputs]
    parts = [Input(p, c, read_adapter(p)) for p, c in zip(places, coefficients, strict=True)]
    _refuse_other_bases(parts)
    parts = _without_repetitions(parts)
    rank = lora_rank or sum(_rank(part.adapter) for part in parts)
    merged = _merged(parts, method=method, density=density, seed=seed, rank=rank)
    errors = {module: error for module, (_, error) in merged.items()}
    with staged(target, replace=False) as directory:
        directory.mkdir()
        if not _copied(parts, method, lora_rank, directory):
            write_adapter(
                directory, {module: update for module, (update, _) in merged.items()}, parts[0].adapter.config
            )
        _complete(directory, parts, {"method": method, "density": density, "seed": seed}, errors)
    if output is None:
        write_text(target.parent / "latest", target.name)
    _tell(parts, errors, target)


def _faults(
    inputs: Sequence[str], coefficients: Sequence[float], method: Method, density: float, rank: int | None, target: Path
) -> Iterator[str]:
    if len(inputs) < 2:
        yield f"inputs: {list(inputs)} names {len(inputs)}; give two or more runs, steps or directories"
    if len(coefficients) != len(inputs):
        yield f"coefficients: {list(coefficients)} has {len(coefficients)} numbers for {len(inputs)} inputs"
    if method in ("linear", "slerp") and inputs and not sum(coefficients):
        yield f"coefficients: {list(coefficients)} sum to 0, so that they name no mean"
    if method == "slerp" and len(inputs) != 2:
        yield f"method: slerp joins two inputs, not {len(inputs)}; take linear for more"
    if not 0 < density <= 1:
        yield f"density: {density} is not in (0, 1]"
    if rank is not None and rank < 1:
        yield f"lora_rank: {rank} is below 1; null loses nothing"
    if target.exists():
        yield f"output: {target} exists already; name a directory that does not"


def _refuse_other_bases(parts: Sequence[Input]) -> None:
    bases = {part.adapter.base: part.place for part in parts}
    if len(bases) > 1:
        named = "; ".join(f"{place} over {base}" for base, place in bases.items())
        raise ConfigError([f"inputs: adapters over different base models cannot be merged: {named}"])


def _without_repetitions(parts: Sequence[Input]) -> list[Input]:
    """Equal inputs as one with the sum of their coefficients, so that merging them changes nothing, to the bit."""
    unique: dict[str, Input] = {}
    for part in parts:
        digest = manifest.file_hash(part.place / ADAPTER, "sha256") + json.dumps(part.adapter.config, sort_keys=True)
        before = unique[digest].coefficient if digest in unique else 0.0
        unique[digest] = Input(part.place, before + part.coefficient, part.adapter)
    return list(unique.values())


def _rank(adapter: Adapter) -> int:
    return max(len(update.down) for update in adapter.updates.values())


def _merged(
    parts: Sequence[Input], *, method: Method, density: float, seed: int, rank: int
) -> dict[str, tuple[LowRank, float]]:
    """The product of each module, and its relative error."""
    modules = sorted({module for part in parts for module in part.adapter.updates})
    merged = {}
    for module in modules:
        own = [(part.adapter.updates[module], part.coefficient) for part in parts if module in part.adapter.updates]
        updates, coefficients = [update for update, _ in own], [coefficient for _, coefficient in own]
        if method in SUMS:
            total = sum(part.coefficient for part in parts) if method == "linear" else 1.0
            exact = concatenated(updates, [coefficient / total for coefficient in coefficients])
            fits = len(exact.down) <= rank
            merged[module] = (padded(exact, rank), 0.0) if fits else factorised(exact, rank)
            continue
        dense = combined([u.dense for u in updates], coefficients, method=method, density=density, seed=seed)
        merged[module] = factorised(dense, rank)
    return merged


def _copied(parts: Sequence[Input], method: Method, lora_rank: int | None, directory: Path) -> bool:
    """Where the result is one of the inputs itself, its own files; whether that is so."""
    (first, *others) = parts
    if others or method not in SUMS or lora_rank not in (None, _rank(first.adapter)):
        return False
    if method == "task_arithmetic" and first.coefficient != 1:
        return False
    for file in (ADAPTER, CONFIG):
        shutil.copyfile(first.place / file, directory / file)
    return True


def _complete(
    directory: Path, parts: Sequence[Input], settings: Mapping[str, object], errors: Mapping[str, float]
) -> None:
    """Add what the verbs want of a step: the tokenizer and settings of the first input, and where all comes from."""
    first = parts[0].place
    for file in sorted(file for pattern in TOKENIZER for file in first.glob(pattern)):
        shutil.copyfile(file, directory / file.name)
    if (first / snapshot.CONFIG).is_file():
        shutil.copyfile(first / snapshot.CONFIG, directory / snapshot.CONFIG)
    inputs = [
        {
            "path": str(part.place),
            "coefficient": part.coefficient,
            "sha256": manifest.file_hash(part.place / ADAPTER, "sha256"),
        }
        for part in parts
    ]
    facts = {"inputs": inputs, **settings, "relative_error": dict(errors)}
    (directory / "merge.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    manifest.seal(directory, step=0, metrics={}, versions=environment.versions())


def _tell(parts: Sequence[Input], errors: Mapping[str, float], target: Path) -> None:
    shown = table("input", "coefficient", "rank")
    for part in parts:
        shown.add_row(str(part.place), f"{part.coefficient:g}", str(_rank(part.adapter)))
    terminal().print(shown)
    module, worst = max(errors.items(), key=lambda item: item[1])
    if worst > 0:
        print(f"the low-rank product departs from the merged update by at most {worst:.1e} ({module})")
    print(f"{target}\nexport it: {program()} export checkpoint={target}")
