"""A display that is gone, or lacks characters, ends nothing; what texts hold is shown and not obeyed."""

import logging
import os
import subprocess
import sys
from io import StringIO

import pytest

from mftcoder.system.streams import LastingStream, visible
from mftcoder.system.terminal import log_plainly, table, terminal

EVIL = "a\x1b]0;title\x07b\x1b[31mc\x9b"
SHOWN = "a␛]0;title␇b␛[31mc�"
TRAIN = (
    "import sys, time\n"
    "from mftcoder.system.streams import make_streams_last\n"
    "from mftcoder.system.terminal import log_plainly, terminal, table\n"
    "make_streams_last(); log_plainly()\n"
    "for step in range(2000): print('step', step, '·'); terminal().print('loss', step) if step % 500 == 0 else None\n"
    "sys.stdout.flush()\n"
    "open(sys.argv[1], 'w').write('trained')\n"
)


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["| head -1", "> /dev/full", ">&-"])
def test_a_closed_pipe_or_a_full_log_ends_nothing(tmp_path, shell):
    done = tmp_path / "done"
    command = f"'{sys.executable}' -c \"$TRAIN\" '{done}' {shell}"
    ended = subprocess.run(command, shell=True, env=os.environ | {"TRAIN": TRAIN}, capture_output=True, check=False)
    assert done.read_text() == "trained", ended.stderr.decode()
    assert ended.stderr == b""


@pytest.mark.slow
def test_an_ascii_terminal_shows_question_marks(tmp_path):
    done = tmp_path / "done"
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    ended = subprocess.run([sys.executable, "-c", TRAIN, done], env=env, capture_output=True, check=False)
    assert done.read_text() == "trained", ended.stderr.decode()
    assert b"step 1999 ?\n" in ended.stdout


def test_other_errors_of_a_stream_are_raised():
    class Broken(StringIO):
        def write(self, text: str) -> int:
            raise OSError(5000, "odd")

    with pytest.raises(OSError, match="odd"):
        LastingStream(Broken()).write("text")


def test_control_characters_are_shown():
    assert visible(EVIL) == SHOWN
    assert visible("tab\tand\nline é ✓") == "tab\tand\nline é ✓"


def test_tables_and_lines_on_the_terminal_show_them_and_take_no_markup(capsys):
    shown = table("task", "loss")
    shown.add_row(f"[red]{EVIL}", "1.0")
    terminal().print(shown)
    terminal().print(EVIL)
    out = capsys.readouterr().out
    assert f"[red]{SHOWN}" in out
    assert "\x1b" not in out


def test_messages_show_them(capsys):
    log_plainly()
    logging.getLogger("mftcoder").warning("the adapter was trained over %s", EVIL)
    assert capsys.readouterr().err == f"the adapter was trained over {SHOWN}\n"
