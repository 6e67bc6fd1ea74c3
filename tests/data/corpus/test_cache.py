import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mftcoder.core.errors import UserError
from mftcoder.data.corpus.cache import cached, digest, file_digest, notes
from mftcoder.system.manifest import MANIFEST, seal


class Counted:
    """A build that counts how often it was asked for."""

    def __init__(self):
        self.calls = 0

    def __call__(self, directory: Path):
        self.calls += 1
        (directory / "sub").mkdir()
        (directory / "a.bin").write_bytes(b"abc" * 1000)
        (directory / "sub" / "b.txt").write_text("b")
        return {"number": self.calls}


@pytest.fixture
def build():
    return Counted()


def test_what_was_made_is_found_again(tmp_path, build):
    first = cached(tmp_path, "kind", {"a": 1}, build)
    assert cached(tmp_path, "kind", {"a": 1}, build) == first
    assert build.calls == 1
    assert notes(first) == {"number": 1}


def test_another_key_is_made_beside_it(tmp_path, build):
    assert cached(tmp_path, "kind", {"a": 1}, build) != cached(tmp_path, "kind", {"a": 2}, build)
    assert build.calls == 2


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o755), (0o002, 0o775), (0o077, 0o700)])
def test_others_may_read_what_the_umask_lets_them_and_the_group_may_lock(tmp_path, build, umask, mode):
    before = os.umask(umask)
    try:
        directory = cached(tmp_path / "cache", "kind", {}, build)
    finally:
        os.umask(before)
    assert stat.S_IMODE(directory.stat().st_mode) == mode
    assert stat.S_IMODE((directory / "a.bin").stat().st_mode) == mode & 0o666
    assert stat.S_IMODE(directory.with_name(f"{directory.name}.lock").stat().st_mode) == 0o664


def test_what_is_whole_is_read_without_writing(tmp_path, build):
    directory = cached(tmp_path, "kind", {}, build)
    directory.with_name(f"{directory.name}.lock").unlink()
    assert cached(tmp_path, "kind", {}, build) == directory
    assert list(tmp_path.iterdir()) == [directory]


def damage_byte(directory):
    path = directory / "a.bin"
    data = bytearray(path.read_bytes())
    data[1500] ^= 1
    status = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # not even the time tells


def damage_length(directory):
    (directory / "a.bin").write_bytes(b"abc")


def damage_missing(directory):
    (directory / "sub" / "b.txt").unlink()


def damage_manifest(directory):
    (directory / MANIFEST).write_text("{")


@pytest.mark.parametrize("damage", [damage_byte, damage_length, damage_missing, damage_manifest])
def test_what_is_damaged_is_made_anew(tmp_path, build, damage):
    directory = cached(tmp_path, "kind", {}, build)
    damage(directory)
    assert cached(tmp_path, "kind", {}, build) == directory
    assert build.calls == 2
    assert (directory / "a.bin").read_bytes() == b"abc" * 1000


def test_nothing_is_left_of_a_build_that_fails(tmp_path):
    def fail(directory):
        (directory / "half").write_text("")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        cached(tmp_path, "kind", {}, fail)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.slow
def test_of_several_processes_one_builds(tmp_path):
    script = """
import sys, time
from pathlib import Path
from mftcoder.data.corpus.cache import cached
def build(directory):
    time.sleep(0.5)
    (directory / "x").write_text("x")
    Path(sys.argv[1], f"built-{sys.argv[2]}").write_text("")
    return {}
print(cached(Path(sys.argv[1]), "kind", {}, build))
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", script, tmp_path, str(i)], stdout=subprocess.PIPE, text=True)
        for i in range(3)
    ]
    found = {process.communicate()[0] for process in processes}
    assert all(process.returncode == 0 for process in processes)
    assert len(found) == 1
    assert len(list(tmp_path.glob("built-*"))) == 1


def test_digests_tell_contents_apart(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    assert file_digest(path) == digest(b"content") != digest(b"contenu")
    assert json.dumps(digest(b"")) == '"99aa06d3014798d86001c324468d497f"'  # XXH3's own test vector


def test_a_manifest_without_its_table_is_made_anew(tmp_path, build):
    directory = cached(tmp_path, "kind", {}, build, holds=("a.bin",))
    (directory / "a.bin").unlink()
    (directory / MANIFEST).unlink()
    seal(directory, algorithm="xxh3_128", notes={})
    assert cached(tmp_path, "kind", {}, build) == directory  # whole as it says
    assert build.calls == 1
    cached(tmp_path, "kind", {}, build, holds=("a.bin",))
    assert build.calls == 2


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EROFS, "cannot be written to"),
        (errno.EACCES, "cannot be written to"),
    ],
)
def test_a_disk_that_takes_nothing_is_one_sentence(tmp_path, number, message):
    def build(directory):
        (directory / "half").write_text("made")
        raise OSError(number, os.strerror(number), str(directory / "table"))

    with pytest.raises(UserError, match=f"cache_dir={tmp_path}: {message} .*{os.strerror(number)}"):
        cached(tmp_path, "kind", {}, build)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_a_cache_that_is_a_file_is_named(tmp_path, build):
    (tmp_path / "afile").touch()
    for place in ("afile", "afile/below"):
        with pytest.raises(UserError, match="cannot be written to"):
            cached(tmp_path / place, "kind", {}, build)


def test_errors_of_others_pass(tmp_path):
    def build(directory):
        raise FileNotFoundError("somewhere else")

    with pytest.raises(FileNotFoundError, match="somewhere else"):
        cached(tmp_path, "kind", {}, build)


def test_what_an_interrupted_build_left_is_removed(tmp_path, build):
    directory = cached(tmp_path, "kind", {}, build)
    left = tmp_path / f".staged-{directory.name}-12345678"
    directory.rename(left)
    cached(tmp_path, "kind", {}, build)
    assert not left.exists()
