"""SIGTERM at any moment of `train`: the step is finished and saved, the exit code 0, the resume exact."""

import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import commands
import shim

from lmlab.train import checkpoint

LIMIT = 30  # seconds


def handles(pid, number):
    """Whether a process has set a handler for a signal."""
    try:
        caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())[1]
    except OSError:
        return False
    return bool(int(caught, 16) >> (number - 1) & 1)


def check_stop(folder, done):
    """Exit 0, and every step that was done is in a whole checkpoint; then the same command goes on to the end."""
    assert done.code == 0, f"code {done.code}: {done.err}"
    assert "Traceback" not in done.err, done.err
    steps = shim.check_steps(folder)
    assert max((row["step"] for row in shim.story(folder)), default=0) <= max(steps, default=0)
    stopped = not (folder / "summary.json").is_file() or '"finished": false' in (folder / "summary.json").read_text()
    assert shim.Verb(*shim.flags(folder)).wait().code == 0
    shim.check_end(folder)
    return stopped


def test_at_any_moment(tmp_path, trials, tally):
    shim.uninterrupted()
    began = time.monotonic()
    assert shim.Verb(*shim.flags(tmp_path / "timed")).wait().code == 0
    seconds, pick, number = time.monotonic() - began, random.Random(9), trials(5, 45)
    stopped, slowest = 0, 0
    for trial in range(number):
        folder, after = tmp_path / str(trial), (trial + pick.random()) / number * seconds * 0.9
        verb = shim.Verb(*shim.flags(folder, **{"train.save_every": pick.choice([0, 1])}))
        while not handles(verb.pid, signal.SIGTERM):
            assert not verb.ended(0.001)
        verb.ended(after)
        verb.send(signal.SIGTERM)
        began = time.monotonic()
        done = verb.wait(LIMIT)
        slowest = max(slowest, time.monotonic() - began)
        try:
            stopped += check_stop(folder, done)
        except AssertionError as error:
            raise AssertionError(f"{folder}, {after:.2f} s after the handler was set: {error}") from error
    assert stopped >= number / 3, "they came too late"
    tally("SIGTERM", number, number, f"{stopped} before the end; the slowest took {slowest:.1f} s")


def test_in_a_process_of_its_own(tmp_path, trials, tally):
    """From the first moment on that it has a handler, imports and set-up included."""
    shim.uninterrupted()
    number, pick = trials(1, 5), random.Random(10)
    for trial in range(number):
        folder = tmp_path / str(trial)
        verb, *flags = shim.flags(folder)
        process = subprocess.Popen([sys.executable, "-m", f"experiments.{verb}", *flags], cwd=commands.REPOSITORY,
                                   env=commands.environment(1), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   encoding="utf-8")
        while not handles(process.pid, signal.SIGTERM):
            assert process.poll() is None
        time.sleep(pick.uniform(0, 6) * (trial > 0))
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=LIMIT)
        check_stop(folder, commands.Done(process.returncode, out, err, 0.0))
    tally("SIGTERM to a process just started", number, number)


def test_a_second_one_ends_it_at_once(tmp_path, trials, tally):
    """In the middle of a save that hangs: after the first it would wait for ever."""
    shim.uninterrupted()
    number = trials(1, 3)
    for trial in range(number):
        folder = tmp_path / str(trial)
        verb = shim.Verb(*shim.flags(folder), SHIM_PART="/checkpoints/3", SHIM_AT=40 + 40 * trial, SHIM_DO="hang")
        while not any(row["step"] >= 3 for row in shim.story(folder)):
            assert not verb.ended(0.01), verb.wait().err
        verb.send(signal.SIGTERM)
        assert not verb.ended(3)
        verb.send(signal.SIGTERM)
        assert verb.wait(LIMIT).code in (-signal.SIGTERM, 128 + signal.SIGTERM)
        assert checkpoint.good_steps(folder / "checkpoints") == shim.check_steps(folder) == [1, 2]
        assert shim.Verb(*shim.flags(folder)).wait().code == 0
        shim.check_end(folder)
    tally("a second SIGTERM", number, number, "ends it at once")
