import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from mftcoder.core.errors import Preempted
from mftcoder.system.signals import LAUNCHED, SIGNALS, StopRequest, ending_at_once


@pytest.mark.parametrize("number", SIGNALS, ids=lambda s: s.name)
def test_a_signal_only_asks(number: signal.Signals) -> None:
    with StopRequest() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        assert stop.signal == number


def test_two_different_signals_still_only_ask() -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.requested


def test_the_handlers_are_given_back_also_after_an_error() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(RuntimeError), StopRequest():
        raise RuntimeError
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.slow
def test_a_second_ctrl_c_ends_the_process_at_once() -> None:
    code = (
        "import time; from mftcoder.system.signals import StopRequest\n"
        "with StopRequest() as stop:\n"
        "  print('ready', flush=True)\n"
        "  while not stop.requested: time.sleep(.01)\n"
        "  print('asked', flush=True)\n"
        "  try: time.sleep(60)\n"
        "  finally: print('too late', flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for word in ("ready\n", "asked\n"):
        assert child.stdout.readline() == word
        child.send_signal(signal.SIGINT)
    assert child.wait(10) == -signal.SIGINT
    assert child.stdout.read() == ""
    child.stdout.close()


@pytest.mark.slow
def test_a_second_ctrl_c_says_what_is_left() -> None:
    code = (
        "import os, signal; from mftcoder.system.signals import StopRequest\n"
        "with StopRequest(lambda: 'step_000050 is there'):\n"
        "  os.kill(os.getpid(), signal.SIGINT); os.kill(os.getpid(), signal.SIGINT)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == -signal.SIGINT
    assert done.stderr.splitlines() == ["", "step_000050 is there"]


@pytest.mark.slow
def test_a_child_that_inherits_the_handlers_ignores_the_signals() -> None:
    read, write = os.pipe()
    with StopRequest() as stop:
        if (pid := os.fork()) == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)
            os.write(write, b"1" if stop.requested else b"0")
            os._exit(0)
        os.waitpid(pid, 0)
        assert os.read(read, 1) == b"0"
    os.close(read)
    os.close(write)


def test_outside_of_the_main_thread_nothing_is_installed() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    seen = []

    def enter() -> None:
        with StopRequest() as stop:
            seen.append(([signal.getsignal(number) for number in SIGNALS], stop.requested))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [(before, False)]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda s: s.name)
def test_with_nothing_to_save_a_signal_ends_the_run_at_once(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Preempted) as stopped, ending_at_once():
        os.kill(os.getpid(), number)
    assert (stopped.value.code, stopped.value.saved) == (130, False)
    assert signal.getsignal(number) == before


def test_a_stop_request_takes_over_for_its_time() -> None:
    with ending_at_once(), StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested


def test_one_of_several_processes_leaves_without_waiting_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(Preempted) as stopped, ending_at_once():
        os.kill(os.getpid(), signal.SIGTERM)
    assert not stopped.value.together


def test_a_worker_of_our_own_launcher_leaves_the_signal_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LAUNCHED, "1")
    before = [signal.getsignal(number) for number in SIGNALS]
    with ending_at_once():
        assert [signal.getsignal(number) for number in SIGNALS] == before
