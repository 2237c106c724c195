"""A tiny run of the real `train` verb, whose file operations can be counted and any of them made to fail: see shim.c.

It saves every step, with dropout, packed windows, accumulation 2 and a ledger, in forks of a warm process.
"""

import atexit
import functools
import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import commands
import pytest
import tensorstore

from lmlab.train import checkpoint
from lmlab.utils.logs import CLOCKS, read_metrics

STEPS, KEEP = 8, 2


@functools.cache
def _folder():
    folder = Path(tempfile.mkdtemp(prefix="lmlab-faults-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def library():
    """shim.c, compiled; skips where that cannot be."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler")
    target = _folder() / "shim.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", target, Path(__file__).with_name("shim.c"), "-ldl"],
                   check=True)
    return target


@functools.cache
def _server():
    env = commands.environment(1, LD_PRELOAD=str(library()))
    server = subprocess.Popen([sys.executable, str(commands.REPOSITORY / "tests" / "warm.py")], env=env,
                              cwd=commands.REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              encoding="utf-8", stderr=subprocess.DEVNULL)
    atexit.register(server.stdin.close)
    assert server.stdout.readline() == "ready\n"
    return server


class Verb:
    """A verb that runs in a fork of the warm process, one at a time. env: what shim.c is to do, and more."""

    def __init__(self, *argv, **env):
        self._server, self._began = _server(), time.monotonic()
        self._out, self._err = (Path(tempfile.mkstemp(dir=_folder())[1]) for _ in range(2))
        request = {"argv": [*map(str, argv)], "stdout": str(self._out), "stderr": str(self._err),
                   "env": {name: str(value) for name, value in env.items()}}
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        children = Path(f"/proc/{self._server.pid}/task/{self._server.pid}/children")
        while not (found := children.read_text().split()) and not self.ended(0):
            pass
        self.pid = int(found[0]) if found else None

    def ended(self, seconds):
        """Waits so long at most; whether it has ended."""
        return bool(select.select([self._server.stdout], [], [], seconds)[0])

    def send(self, number):
        """Sends it a signal, if it still runs."""
        if not self.ended(0):
            os.kill(self.pid, number)

    def wait(self, seconds=300):
        """How it ended: a commands.Done. One that hangs is killed, and fails the test."""
        hangs = not self.ended(seconds)
        if hangs:
            os.kill(self.pid, signal.SIGKILL)
        code = int(self._server.stdout.readline())
        done = commands.Done(code, self._out.read_text("utf-8"), self._err.read_text("utf-8"),
                             time.monotonic() - self._began)
        assert not hangs, f"it still ran after {seconds} s\n{done.err}"
        self._out.unlink()
        self._err.unlink()
        return done


@functools.cache
def text():
    """The file that is trained on."""
    path = _folder() / "text.txt"
    path.write_text(commands.text(), "utf-8")
    return path


def flags(folder, **changes):
    """The command line of the tiny run."""
    sets = {"train.steps": STEPS, "train.save_every": 1, "train.keep": KEEP, "train.windows": "packed",
            "train.accumulation": 2, "train.ledger": True, "model.dropout": 0.1, "evals.every": 99, "model.layers": 1,
            "evals.samples": 0, "evals.baselines": False, **changes}
    return commands.train_flags(folder, text(), *(f"--config.{name}={value}" for name, value in sets.items()))


@functools.cache
def uninterrupted():
    """The folder of the run that nothing befell, all its checkpoints kept; {step: digest of its state}."""
    folder = _folder() / "uninterrupted"
    log = _folder() / "operations"
    done = Verb(*flags(folder, **{"train.keep": 99}), SHIM_PART="/checkpoints", SHIM_LOG=log).wait()
    assert done.code == 0, done.err
    operations = log.read_text().splitlines()
    for driver in ("_CHECKPOINT_METADATA", "ocdbt.process_0/d/", "manifest.json"):  # Python's writes and tensorstore's
        assert any(" write " in line and driver in line for line in operations), f"shim.c does not see {driver}"
    return folder, {step: digest(folder, step) for step in range(1, STEPS + 1)}


def digest(folder, step):
    """Of all arrays of a step, as tensorstore reads them by itself: names, shapes, types and bits."""
    total = hashlib.sha256()
    for item in ("params", "rest"):
        store = tensorstore.KvStore.open({"driver": "ocdbt", "base": f"file://{folder}/checkpoints/{step}/{item}/"})
        store = store.result()
        for key in sorted(store.list().result()):
            total.update(key + b"\0" + store.read(key).result().value)
    return total.hexdigest()


def story(folder):
    """What metrics.jsonl tells, clocks apart."""
    return [{k: v for k, v in row.items() if k not in CLOCKS} for row in read_metrics(folder)]


def check_end(folder):
    """A run that went through faults ended as the uninterrupted one, bit for bit, and read the same rows."""
    whole, digests = uninterrupted()
    assert digest(folder, STEPS) == digests[STEPS]
    assert story(folder) == story(whole)
    assert (folder / "ledger.jsonl").read_bytes() == (whole / "ledger.jsonl").read_bytes()


def check_steps(folder, before=()):
    """The steps that count now: all whole, and the uninterrupted run's bit for bit. None of `before` was lost: those
    that are gone made room for KEEP newer ones."""
    steps = checkpoint.good_steps(folder / "checkpoints")
    for step in steps:
        assert checkpoint.damage(folder / "checkpoints" / str(step)) is None
        assert digest(folder, step) == uninterrupted()[1][step], f"step {step} is not as it was"
    for step in set(before) - set(steps):
        assert sum(newer > step for newer in steps) >= KEEP, f"step {step} is lost: {steps}"
    return steps


def unsealed(folder):
    """{(name, inode)} of the saves that have begun and have no manifest."""
    good = {str(n) for n in checkpoint.good_steps(folder / "checkpoints")}
    return {(p.name, p.stat().st_ino) for p in (folder / "checkpoints").glob("*")
            if "orbax-checkpoint-tmp" in p.name or p.name.isdecimal() and p.name not in good}
