"""Names that people type: what is short for several overrides, and what was meant by a name that does not exist."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import yaml

# Names of MFTCoder, Hugging Face's trainers, TRL, LLaMA-Factory and Axolotl, and ours. A name of ours with another
# place (lora_rank, num_train_epochs, …) needs no entry: every key of the configuration is found by its last part.
ALIASES = {
    "adapter": "peft",
    "adapter_name_or_path": "checkpoint",
    "base_model": "model.pretrained_model_path",
    "bf16": "engine.mixed_precision",
    "finetuning_type": "peft",
    "fp16": "engine.mixed_precision",
    "auto_resume": "resume",
    "batch_size": "training.per_device_train_batch_size",
    "coba_update_steps": "balancer.coba_update_interval",
    "cutoff_len": "data.seq_length",
    "data_paths": "data.paths",
    "data_path": "data.paths",
    "data_weights": "data.tasks.<task>.share",
    "dataset": "data.paths",
    "datasets": "data.paths",
    "dataset_dir": "data.paths",
    "deepspeed": "engine",
    "distributed_type": "engine",
    "epochs": "training.num_train_epochs",
    "eval_batch_size": "training.per_device_eval_batch_size",
    "eval_steps": "training.evaluation_steps",
    "flash_attn": "model.attn_implementation",
    "flash_attention": "model.attn_implementation",
    "fsdp": "engine",
    "gradient_accumulation": "training.gradient_accumulation_steps",
    "learning_rate": "optimizer.lr",
    "load_in_4bit": "quantization",
    "load_in_8bit": "quantization",
    "logging_steps": "training.log_interval",
    "lora_r": "peft.lora_rank",
    "lora_target": "peft.target_modules",
    "lora_target_modules": "peft.target_modules",
    "lr": "optimizer.lr",
    "lr_scheduler": "scheduler",
    "lr_scheduler_type": "scheduler",
    "max_length": "data.seq_length",
    "max_seq_length": "data.seq_length",
    "max_steps": "training.max_train_steps",
    "micro_batch_size": "training.per_device_train_batch_size",
    "model_name_or_path": "model.pretrained_model_path",
    "model_type": "model",
    "num_epochs": "training.num_train_epochs",
    "optim": "optimizer",
    "output_dir": "hydra.run.dir",
    "overwrite_output_dir": "hydra.run.dir",
    "packing": "data.padding_mode",
    "path": "data.paths",
    "peft_type": "peft",
    "per_device_batch_size": "training.per_device_train_batch_size",
    "quantization_bit": "quantization",
    "r": "peft.lora_rank",
    "rank": "peft.lora_rank",
    "report_to": "tracker",
    "resume_from_checkpoint": "resume",
    "sample_packing": "data.padding_mode",
    "save_steps": "checkpoint.checkpointing_steps",
    "save_total_limit": "checkpoint.saving_limit",
    "sequence_len": "data.seq_length",
    "task_weights": "balancer.task_weights",
    "tb_dir": "tracker",
    "train_batch_size": "training.per_device_train_batch_size",
    "train_file": "data.paths",
    "use_rslora": "peft.use_rslora",
    "val_set_size": "data.data_split",
    "val_size": "data.data_split",
    "wandb_project": "tracker",
    "warmup_ratio": "scheduler.num_warmup_steps",
    "warmup_steps": "scheduler.num_warmup_steps",
    "weighted_loss_mode": "balancer",
}
CHOICES = {
    "balancer": {
        "case1": "balancer=proportional",
        "case2": "balancer=proportional objective.reduction=sample",
        "case3": "balancer=equal, or balancer=fixed with weights",
        "case4": "balancer=equal objective.reduction=sample",
        "selfpaced": "balancer=coba",
        "uniform": "balancer=equal",
    },
    "engine": {"deepspeed": "engine=zero2", "fsdp": "engine=fsdp2", "zero": "engine=zero2", "cpu": "engine=single"},
    "model": {"code_llama": "model=codellama", "llama": "model=llama2", "qwen2": "model=qwen2_5_coder"},
    "optimizer": {"adamw_torch": "optimizer=adamw", "adamw_8bit": "optimizer=adamw8bit", "adam": "optimizer=adamw"},
    "peft": {"full": "peft=none", "freeze": "peft=none"},
    "quantization": {
        **dict.fromkeys(("4bit", "4", "bnb", "fp4", "int4"), "quantization=nf4"),
        **dict.fromkeys(("8bit", "8", "llm.int8"), "quantization=int8"),
    },
    "scheduler": {
        "cosine_with_min_lr": "scheduler=cosine with scheduler.min_lr",
        "warmup_stable_decay": "scheduler=wsd",
    },
}
CLOSE = 0.75  # how like another a name must be, from 0 to 1, to be taken for it where it is in another place


def spelled_out(conf: Path, override: str) -> list[str]:
    """An override as Hydra understands it: `model=a/b` and `data=[a,b]` are short for two, `peft=null` means none."""
    key, equals, value = override.partition("=")
    if not equals or not re.fullmatch(r"\w+", key) or not (conf / key).is_dir():
        return [override]
    given: Any = [part.strip() for part in value[1:-1].split(",")] if re.fullmatch(r"\[.*\]", value) else value
    chosen = choice(conf, key, None if value == "null" else given)
    if chosen is None or chosen == {key: given}:
        return [override]
    listed = (own if not isinstance(own, list) else f"[{','.join(own)}]" for own in chosen.values())
    return [f"{part}={own}" for part, own in zip(chosen, listed, strict=True)]


def choice(conf: Path, group: str, value: Any) -> dict[str, Any] | None:
    """What a value given to a group chooses and sets, by key; None where it chooses nothing (a mapping, say)."""
    if value is None and group == "tracker":
        return {group: []}
    if value is None:
        return {group: "none"} if (conf / group / "none.yaml").is_file() else None
    if not isinstance(value, str | list):
        return None
    path = isinstance(value, str) and not (conf / group / f"{value}.yaml").is_file() and _is_path(value)
    if group == "model" and path:
        return {"model": "path", "model.pretrained_model_path": value}
    if group == "data" and (path or isinstance(value, list)):
        return {"data": "folders", "data.paths": [value] if path else value}
    return {group: value}


def _is_path(value: str) -> bool:
    return "," not in value and ("/" in value or Path(value).exists())


def near(word: str, options: Iterable[str]) -> str:
    """The option that a word is nearest to, as a question; nothing where none is near."""
    close = get_close_matches(word, list(options), n=1)
    return f"did you mean {close[0]!r}? " if close else ""


def other_choice(group: str, choice: str, options: Sequence[str]) -> str:
    """What was meant by a choice that a group does not have."""
    if meant := CHOICES.get(group, {}).get(choice.lower()):
        return f"did you mean {meant}? "
    return near(choice, options)


class Meant(NamedTuple):
    """What may have been meant by a key: the end of a sentence, and whether its name stands there letter by letter."""

    words: str
    sure: bool


def elsewhere(path: str, tree: Mapping[str, Any], conf: Path) -> Meant | None:
    """What was meant by a key that does not exist: it is known under another name, or stands in another place.

    Args:
        path: the key, with dots.
        tree: the whole configuration without that key.
        conf: the directory with all configs.

    Returns:
        None where nothing is like it.
    """
    *outer, last = path.split(".")
    keys = [key for key in leaves(tree) if key != path]
    by_last = {key.rpartition(".")[2]: key for key in reversed(keys)}
    if alias := ALIASES.get(last):
        place = alias.partition(".")[0]
        known = alias != path and (place in tree or place == "hydra")
        if known and (place in (alias, "hydra") or alias in keys or _choices_with(conf, alias) or "<" in alias):
            return Meant(f"did you mean {alias}{_of_choice(conf, alias, keys)}?", sure=True)
    if len(outer) == 1 and (having := _choices_with(conf, path)):
        return Meant(f"a parameter of {' and '.join(f'{outer[0]}={name}' for name in having[:3])}", sure=True)
    if last in by_last:
        return Meant(f"did you mean {by_last[last]}?", sure=True)
    close = get_close_matches(last, list(by_last), n=1, cutoff=CLOSE)
    return Meant(f"did you mean {by_last[close[0]]}?", sure=False) if close else None


def leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The keys of a configuration that can be set, with dots; what begins with an underscore is Hydra's."""
    for key, value in tree.items():
        here = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping) and value:
            yield from leaves(value, here)
        elif not str(key).startswith("_"):
            yield here


def _of_choice(conf: Path, key: str, keys: Iterable[str]) -> str:
    """What must be chosen for a key to exist, where it does not yet."""
    group, dot, _ = key.partition(".")
    if not dot:
        choices = sorted(file.stem for file in (conf / group).glob("[!_]*.yaml"))
        return f"=… ({', '.join(choices)})" if choices else ""
    having = _choices_with(conf, key)
    return "" if key in keys or not having else f", of {' and '.join(f'{group}={name}' for name in having[:3])},"


def _choices_with(conf: Path, key: str) -> list[str]:
    """The choices of a group that have a key, which is a group and a name."""
    group, _, name = key.partition(".")
    files = sorted((conf / group).glob("[!_]*.yaml")) if name and "." not in name else []
    return [file.stem for file in files if name in _keys(file)]


def _keys(file: Path) -> set[str]:
    """The keys of a choice, with those that it inherits from others of its group."""
    content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    bases = [file.with_name(f"{entry}.yaml") for entry in content.get("defaults", []) if isinstance(entry, str)]
    return set(content).union(*(_keys(base) for base in bases if base.is_file()))
