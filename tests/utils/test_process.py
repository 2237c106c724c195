"""Signals that ask to stop, and the watchdog, in processes of their own."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lmlab.utils.process import Stopped, StopSignals, Watchdog

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_interrupts_but_not_in_a_deferred_block(number):
    before = signal.getsignal(number)
    with StopSignals() as stop:
        with pytest.raises(Stopped) as stopped, stop.at_once():
            os.kill(os.getpid(), number)
            time.sleep(10)
    assert stopped.value.number == number and stop and signal.getsignal(number) is before
    with StopSignals() as stop:
        with stop.deferred():
            assert not stop
            with stop.at_once():
                pass
            os.kill(os.getpid(), number)
            assert stop
            with pytest.raises(Stopped), stop.at_once():
                raise AssertionError("it came before")
    assert signal.getsignal(number) is before


def run(program):
    """A program that prints a line and then waits; its process."""
    begin = "import os, sys, time\nfrom lmlab.utils.process import StopSignals, Watchdog\n"
    process = subprocess.Popen([sys.executable, "-c", begin + program], cwd=ROOT, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, encoding="utf-8")
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_signal_in_a_callback_of_the_garbage_collector_is_seen_and_makes_no_noise(capsys):
    callback = lambda phase, info: os.kill(os.getpid(), signal.SIGTERM) if phase == "start" else None
    with StopSignals() as stop:
        gc.callbacks.append(callback)
        gc.collect()
        gc.callbacks.remove(callback)
        assert stop
    assert not capsys.readouterr().err


def test_a_second_signal_ends_the_process():
    process = run("with StopSignals() as stop, stop.deferred():\n print('ready', flush=True)\n time.sleep(60)")
    for _ in range(2):
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
    assert process.wait(30) == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_a_process_that_is_long_in_one_call(number):
    process = run("""
import hashlib
with StopSignals() as stop, stop.deferred():
    print('ready', flush=True)
    hashlib.pbkdf2_hmac('sha256', b'', b'', 2 ** 31 - 1)
""")
    for _ in range(2):
        time.sleep(0.5)
        process.send_signal(number)
    assert process.wait(30) == 128 + number


def test_the_watchdog_dumps_stacks_and_ends_a_process_that_hangs(tmp_path):
    process = run(f"""
def stuck():
    print('ready', flush=True)
    time.sleep(60)
with Watchdog(1.0, {str(tmp_path / 'stacks.txt')!r}) as watch:
    watch.at("step 3")
    stuck()
""")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert f"error: nothing has moved for 1 s (config.train.watchdog) in step 3; the stacks of all threads are in " \
           f"{tmp_path / 'stacks.txt'}" in err
    assert "in stuck" in (tmp_path / "stacks.txt").read_text()


def test_the_watchdog_lets_be_what_moves_what_may_take_long_and_what_was_stopped(tmp_path):
    process = run(f"""
with Watchdog(1.0, {str(tmp_path / 'stacks.txt')!r}) as watch:
    for i in range(8):
        watch.at(f"step {{i}}")
        time.sleep(0.25)
        print('ready', flush=True)
    watch.at()
    time.sleep(2)
""")
    process.send_signal(signal.SIGSTOP)
    time.sleep(3)
    process.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0 and not err and not (tmp_path / "stacks.txt").exists()


def test_no_watchdog_is_no_thread(tmp_path):
    with Watchdog(0, tmp_path / "stacks.txt"):
        assert not [t for t in threading.enumerate() if t.name == "lmlab-watchdog"]
