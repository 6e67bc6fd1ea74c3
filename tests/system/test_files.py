"""What is written whole or not at all, and what a crash leaves of it."""

import os
import stat
from errno import ENOSPC
from pathlib import Path

import pytest

from mftcoder.system import files


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_directory_replaces_another_and_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").touch()
    with files.staged(target) as directory:
        directory.mkdir()
        (directory / "new").touch()
        assert names(target) == ["old"]
    assert names(tmp_path) == ["target"]
    assert names(target) == ["new"]


def test_what_exists_stays_where_it_may_not_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with pytest.raises(FileExistsError, match="target exists"), files.staged(tmp_path / "target", replace=False) as new:
        new.mkdir()
    assert names(tmp_path) == ["target"]


@pytest.mark.parametrize("error", [OSError(ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_text_and_no_staged_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "latest"
    files.write_text(path, "one")

    def fail() -> None:
        with files.staged(path) as file:
            file.write_text("two")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_text() == "one"
    assert names(tmp_path) == ["latest"]


def test_write_text_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    files.write_text(tmp_path / "latest", "one")
    files.write_text(tmp_path / "latest", "two")
    assert (tmp_path / "latest").read_text() == "two"
    assert names(tmp_path) == ["latest"]


@pytest.mark.parametrize("replaced", [False, True])
def test_clear_undoes_or_completes_a_replacement_that_was_cut_off(tmp_path: Path, replaced: bool) -> None:
    (tmp_path / f"{files.REPLACED}step").mkdir()
    (tmp_path / f"{files.REPLACED}step" / "old").touch()
    if replaced:
        (tmp_path / "step").mkdir()
    (tmp_path / f"{files.STAGED}step-0").mkdir()
    (tmp_path / f"{files.STAGED}other-0").touch()
    files.clear(tmp_path, "step")
    assert names(tmp_path) == [f"{files.STAGED}other-0", "step"]
    assert (tmp_path / "step" / "old").exists() != replaced


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_files_that_a_library_wrote_as_private_get_the_modes_of_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with files.staged(tmp_path / "model") as directory:
            directory.mkdir()
            os.close(os.open(directory / "model.safetensors", os.O_CREAT | os.O_WRONLY, 0o600))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o777 & ~umask
    assert stat.S_IMODE((tmp_path / "model" / "model.safetensors").stat().st_mode) == 0o666 & ~umask


def test_a_name_of_255_bytes_can_be_staged(tmp_path: Path) -> None:
    files.write_text(tmp_path / ("n" * 255), "text")
    assert names(tmp_path) == ["n" * 255]


def test_of_two_who_publish_at_once_the_second_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other appears after the look at the name, and before the rename."""
    target = tmp_path / "target"
    target.mkdir()
    (target / "theirs").touch()
    monkeypatch.setattr(Path, "exists", lambda path: False)
    monkeypatch.setattr(Path, "is_dir", lambda path: path != target and os.path.isdir(path))

    def publish() -> None:
        with files.staged(target, replace=False) as new:
            new.mkdir()
            (new / "ours").touch()

    with pytest.raises(FileExistsError, match="target exists"):
        publish()
    assert names(tmp_path) == ["target"]
    assert names(target) == ["theirs"]
