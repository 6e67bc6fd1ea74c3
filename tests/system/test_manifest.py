import hashlib
import json
import shutil
from pathlib import Path

import pytest

from mftcoder.system import manifest


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    directory = tmp_path / "step"
    (directory / "sub").mkdir(parents=True)
    (directory / "a.txt").write_bytes(b"first")
    (directory / "sub" / "b.bin").write_bytes(bytes(range(256)) * 9000)
    manifest.seal(directory, step=7)
    return directory


def test_a_sealed_directory_is_whole_and_carries_its_facts(sealed: Path) -> None:
    assert manifest.faults(sealed) == []
    assert manifest.read(sealed)["step"] == 7
    assert set(manifest.read(sealed)["files"]) == {"a.txt", "sub/b.bin"}


@pytest.mark.parametrize("name", ["a.txt", "sub/b.bin", manifest.MANIFEST])
def test_every_flipped_bit_is_found(sealed: Path, name: str) -> None:
    content = (sealed / name).read_bytes()
    for position in {0, len(content) // 2, len(content) - 1}:
        flipped = bytearray(content)
        flipped[position] ^= 1
        (sealed / name).write_bytes(flipped)
        found = manifest.faults(sealed)
        assert len(found) == 1, position
        assert name in found[0]


def test_a_flipped_bit_of_a_digit_in_the_manifest_is_found(sealed: Path) -> None:
    text = (sealed / manifest.MANIFEST).read_text()
    (sealed / manifest.MANIFEST).write_text(text.replace('"step": 7', '"step": 6'))
    assert "its own hash" in manifest.faults(sealed)[0]


@pytest.mark.parametrize(("harm", "named"), [("truncate", "4 bytes instead of 5"), ("delete", "missing")])
def test_lost_bytes_and_files_are_named(sealed: Path, harm: str, named: str) -> None:
    path = sealed / "a.txt"
    path.write_bytes(b"firs") if harm == "truncate" else path.unlink()
    assert manifest.faults(sealed) == [f"{path}: {named}"]


def test_a_directory_without_a_manifest_is_not_whole(tmp_path: Path) -> None:
    assert len(manifest.faults(tmp_path)) == 1


def test_remove_takes_the_manifest_first(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", crash)
    with pytest.raises(KeyboardInterrupt):
        manifest.remove(sealed)
    assert manifest.faults(sealed) != []
    monkeypatch.undo()
    manifest.remove(sealed)
    assert not sealed.exists()


def test_the_quick_hash_finds_a_flipped_bit_too(tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(b"tokens")
    content = manifest.seal(tmp_path, algorithm="xxh3_128")
    assert manifest.read(tmp_path) == content
    (tmp_path / "table").write_bytes(b"tokenz")
    assert manifest.faults(tmp_path) == [f"{tmp_path / 'table'}: its hash (xxh3_128) does not match"]


def resealed(directory: Path, content: object) -> None:
    """A manifest that says what somebody wrote there, with the right hash of itself."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    whole = {**content, "sha256": digest} if isinstance(content, dict) else content
    (directory / manifest.MANIFEST).write_text(json.dumps(whole))


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"files": None},
        {"files": ["a.txt"]},
        {"files": {"a.txt": {}}},
        {"files": {"a.txt": None}},
        {"files": {"a.txt": {"bytes": 5}}},
        {"files": {"a.txt": {"bytes": "5", "sha256": "0"}}},
        {"files": {"/etc/passwd": {"bytes": 5, "sha256": "0"}}},
        {"files": {"../a.txt": {"bytes": 5, "sha256": "0"}}},
        [],
        None,
    ],
)
def test_a_manifest_of_odd_content_is_damaged_though_its_hash_is_right(sealed: Path, content: object) -> None:
    resealed(sealed, content)
    assert len(manifest.faults(sealed)) == 1
