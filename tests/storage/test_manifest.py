from pathlib import Path

import pytest

from mftcoder.storage import manifest


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
    assert manifest.manifest(sealed)["step"] == 7
    assert set(manifest.manifest(sealed)["files"]) == {"a.txt", "sub/b.bin"}


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


def test_publish_replaces_and_leaves_nothing_behind(sealed: Path) -> None:
    target = sealed.with_name("target")
    target.mkdir()
    (target / "old").touch()
    manifest.publish(sealed, target)
    assert manifest.faults(target) == []
    assert [p.name for p in target.parent.iterdir()] == ["target"]


@pytest.mark.parametrize("replaced", [False, True])
def test_recover_undoes_or_completes_a_publish_that_was_cut_off(sealed: Path, replaced: bool) -> None:
    aside = sealed.rename(sealed.with_name(f"{manifest.ASIDE}step"))
    if replaced:
        sealed.mkdir()
        (sealed / "new").touch()
    manifest.recover(sealed.parent)
    assert not aside.exists()
    assert (sealed / "new").exists() == replaced
    assert (sealed / "a.txt").exists() != replaced


def test_remove_takes_the_manifest_first(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rmdir", crash)
    with pytest.raises(KeyboardInterrupt):
        manifest.remove(sealed)
    assert manifest.faults(sealed) != []
    monkeypatch.undo()
    manifest.remove(sealed)
    assert not sealed.exists()


def test_write_text_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    manifest.write_text(tmp_path / "latest", "one")
    manifest.write_text(tmp_path / "latest", "two")
    assert (tmp_path / "latest").read_text() == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["latest"]
