"""Checkpoints that somebody else has written: mutations of their files, and a watch over what reading them does."""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from saved_runs import SavedRun

from mftcoder.cli.schema import locate
from mftcoder.core.errors import UserError
from mftcoder.core.rng import Seed
from mftcoder.data.base import Data
from mftcoder.storage.restored import attach, find, of_run
from mftcoder.storage.run_directory import read_config
from mftcoder.storage.untrusted import choices
from mftcoder.template.base import Template

BUILD, DECODE = "mftcoder.cli.config.build", "mftcoder.storage.serialize._decode"
TARGETS = (
    *("posix.system", "os.system", "subprocess.Popen", "builtins.eval", "builtins.open", "importlib.import_module"),
    *(BUILD, DECODE, "mftcoder.cli.schema.locate", "mftcoder.storage.run_directory.new_directory", "torch.load"),
    *("mftcoder.model.tiny.Tiny", "mftcoder.template.jinja.Jinja", "mftcoder.model.causal_lm.CausalLM", "canary.sing"),
    *("torch.optim.AdamW", "torch.optim.optimizer.warnings.warn", "mftcoder.quantization.nf4.NF4", "", "x", "a.b.c"),
)
SCALARS = (
    *(None, True, False, 0, -1, 2**70, 1e308, float("nan"), float("inf"), "", "run", "???", "/etc/passwd", "../../.."),
    *("https://127.0.0.1:9/x", "evil/kernel", "$(touch PWNED)", "{{ cycler.__init__.__globals__.os.system('id') }}"),
    *("\x1b]0;x\x07", "${oc.env:HOME}", "A" * 10_000, "\ud800", "lambda: 0", "__import__('os')", "canary"),
)
KEYS = (
    *("_target_", "_partial_", "_args_", "_recursive_", "trusted_targets", "trust_remote_code", "auto_map", "path"),
    *("directory", "attn_implementation", "megatron_config", "megatron_core", "auto_mapping", "tokenizer_class"),
    *("pretrained_model_path", "local_copy", "__class__", "command", "name", "chat_template", "peft_type", "dtype"),
)
# What reading weights, tokenizers and adapters may import when first asked to.
LIBRARIES = ("mftcoder", "transformers", "tokenizers", "peft", "torch", "numpy", "huggingface_hub", "safetensors")
LIBRARIES = (*LIBRARIES, "accelerate", "bitsandbytes", "jinja2", "sentencepiece", "tiktoken", "google")


def mutated(tree: Any, rng: random.Random) -> Any:
    """A copy of a tree with one to four nodes replaced, added or removed."""
    tree = deepcopy(tree)
    for _ in range(rng.randint(1, 4)):
        tree = _mutate(tree, rng)
    return tree


def _mutate(tree: Any, rng: random.Random) -> Any:
    if not isinstance(tree, dict | list) or not tree or rng.random() < 0.02:
        return hostile(rng)
    key = rng.choice(list(tree)) if isinstance(tree, dict) else rng.randrange(len(tree))
    action = rng.random()
    if isinstance(tree[key], dict | list) and tree[key] and action < 0.6:
        tree[key] = _mutate(tree[key], rng)
    elif action < 0.75:
        tree[key] = hostile(rng)
    elif isinstance(tree, dict) and action < 0.95:
        tree[rng.choice(KEYS)] = hostile(rng)
    else:
        del tree[key]
    return tree


def hostile(rng: random.Random, depth: int = 0) -> Any:
    """A scalar, a gadget, or a nest of them."""
    kind = rng.random()
    if kind < 0.4 or depth > 3:
        return rng.choice(SCALARS)
    if kind < 0.8:
        keys = rng.sample(KEYS, rng.randint(0, 3))
        return {"_target_": rng.choice(TARGETS)} | {key: hostile(rng, depth + 1) for key in keys if key != "_target_"}
    if kind < 0.9:
        return [hostile(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    return rng.choice(TARGETS)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes of a file, cut, flipped or doubled."""
    at = rng.randrange(len(data) + 1)
    return rng.choice([data[:at], data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :], data[:at] + data, b""])


def write(path: Path, tree: Any, rng: random.Random) -> None:
    """A mutated tree as JSON or YAML, now and then with damaged bytes too."""
    changed = mutated(tree, rng)
    text = yaml.safe_dump(changed, allow_unicode=False) if path.suffix == ".yaml" else json.dumps(changed)
    data = text.encode("utf-8", "surrogatepass")
    path.write_bytes(damaged(data, rng) if rng.random() < 0.1 else data)


class Watch:
    """Collects what this process does, by an audit hook, while it is asked to; a process has but one.

    Events that count: imports of modules outside of LIBRARIES and the standard library, texts compiled that hold a word
    of the mutations, files opened for writing, sockets, processes, and changes of the file system.
    """

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and _counts(event, arguments):
            self.seen.append(f"{event} {arguments!r:.200}")

    @contextmanager
    def __call__(self) -> Iterator[list[str]]:
        self.seen, self.on = [], True
        try:
            yield self.seen
        finally:
            self.on = False


ACTS = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "subprocess.",
    "socket.",
    "ctypes.dlopen",
    "pty.",
)
CHANGES = (
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "shutil.",
    "os.chmod",
)


def _counts(event: str, arguments: tuple[Any, ...]) -> bool:
    if event == "import":
        name = str(arguments[0]).partition(".")[0]
        return name not in LIBRARIES and name not in sys.stdlib_module_names
    if event == "open":
        return isinstance(arguments[1], str) and any(letter in arguments[1] for letter in "wax+")
    if event == "compile":  # Annotations are compiled too, but none of those words is in one.
        return any(word in str(arguments[0]) for word in ("import", "system", "canary", "lambda", "PWNED", "__"))
    return event.startswith((*ACTS, *CHANGES)) and event != "socket.gethostname"


CPU = torch.device("cpu")


@dataclass
class Found:
    """What a fuzz has seen.

    Args:
        tried: mutated checkpoints.
        refused: those that were refused in words.
        acts: what one of them made this process do.
        crashes: those that raised anything but a UserError.
        slowest: seconds that the slowest took.
    """

    tried: int = 0
    refused: int = 0
    acts: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    slowest: float = 0.0


def fuzz(run: SavedRun, root: Path, number: int, rng: random.Random) -> Found:
    """Mutate one file of a checkpoint at a time, and read it as the verbs do.

    Args:
        run: a small run with an adapter.
        root: a directory for the copies.
        number: how many mutations.
        rng: draws them.
    """
    step = run.directory / "checkpoints" / "step_000002"
    root.mkdir(parents=True)
    (root / "config.yaml").write_text(yaml.safe_dump(run.tree))
    net, watch, found = run.model().load(None, CPU, frozen=True), Watch(), Found()
    cases = (
        (6, "run.json", restore),
        (2, "adapter_config.json", lambda copy: attach(deepcopy(net), copy)),
        (1, "tokenizer_config.json", lambda copy: run.model().at(copy).tokenizer()),
        (1, "config.yaml", read_config),
    )
    for target in (target for group in ("model", "quantization", "template", "data") for target in choices(group)):
        locate(target)
    for _, name, read in cases:  # What is loaded lazily is loaded now.
        _try(read, _copy(step, root, name), found)
    found = Found()
    for _ in range(number):
        _, name, read = rng.choices(cases, [weight for weight, *_ in cases])[0]
        copy = _copy(step, root, name)
        source = (root if name == "config.yaml" else step) / name
        tree = yaml.safe_load(source.read_text()) if name == "config.yaml" else json.loads(source.read_text())
        write(copy / name, tree, rng)
        begun = time.perf_counter()
        with watch() as acts:
            _try(read, copy, found)
        found.acts += [f"{name}: {act} from {(copy / name).read_bytes()!r:.2000}" for act in acts]
        found.slowest = max(found.slowest, time.perf_counter() - begun)
    return found


def _copy(step: Path, root: Path, name: str) -> Path:
    copy = root / "step"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(step, copy)
    if name == "config.yaml":
        shutil.copy(root / name, copy / name)
    return copy


def restore(step: Path) -> None:
    """All that the verbs take from a checkpoint."""
    find(str(step), model="run", quantization="run")
    for name, wanted in (("template", Template), ("data", Data), ("seed", Seed)):
        of_run(name, "run", step, wanted)


def _try(read: Callable[[Path], object], copy: Path, found: Found) -> None:
    found.tried += 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(copy)
    except UserError:
        found.refused += 1
    except Exception as error:
        name = traceback.extract_tb(error.__traceback__)[-1]
        found.crashes.append(f"{type(error).__name__}: {error!s:.200} at {name.filename}:{name.lineno}")
