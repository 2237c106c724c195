"""Runs the verbs as a user does, and makes the one tiny run that many tests share."""

import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from lmlab.utils import sealed

REPOSITORY = Path(__file__).resolve().parents[1]
WORDS = ("the of and to in a is that it he was for on are as with his they I at be this have from or one had by word "
         "but not what all were we when 春 眠 不 觉 晓 处处 闻 啼鸟").split()


class Done(NamedTuple):
    """How a command ended."""
    code: int
    out: str
    err: str
    seconds: float


def environment(devices=8, **extra):
    """Environment variables of a verb: a CPU that shows `devices` devices, the repository to import from."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", **extra}


def command(*argv, cwd=REPOSITORY, devices=8):
    """Runs `python -m experiments.VERB FLAGS` in a process of its own."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", f"experiments.{argv[0]}", *map(str, argv[1:])], cwd=cwd,
                          env=environment(devices), capture_output=True, encoding="utf-8", timeout=300)
    return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - began)


@functools.cache
def _server():
    server = subprocess.Popen([sys.executable, str(Path(__file__).with_name("warm.py"))], cwd=REPOSITORY,
                              env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8",
                              stderr=subprocess.DEVNULL)
    atexit.register(server.stdin.close)
    assert server.stdout.readline() == "ready\n"
    return server


def quick(*argv, **env):
    """As `command`, in a fork of a process that has imported everything already."""
    server = _server()
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        began = time.monotonic()
        request = {"argv": [*map(str, argv)], "stdout": str(out), "stderr": str(err), "env": env}
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        return Done(code, out.read_text("utf-8"), err.read_text("utf-8"), time.monotonic() - began)


def text(documents=1, words=3000, seed=0):
    """Text of random words, some of them Chinese, in lines."""
    import random
    pick = random.Random(seed)
    return "\n".join(" ".join(pick.choice(WORDS) for _ in range(12)) for _ in range(words // 12 * documents)) + "\n"


def rewrite(folder, old, new, names=("config.json", "run.json")):
    """Replaces text in config.json and run.json, new digests and all: as a run with another config would have them."""
    for name in names:
        content = (folder / name).read_text("utf-8")
        assert old in content
        value = json.loads(content.replace(old, new))
        value.pop(sealed.KEY)
        sealed.write(folder / name, value)


def snapshot(folder):
    """{path: content} of every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def train_flags(folder, data, *more):
    """The flags of a tiny run in `folder` on the text file `data`."""
    return ["train", "--config=configs/gpt.py:tiny", f"--workdir={folder}", f"--config.data.path={data}", *more]


@functools.cache
def tiny(devices=8, *more):
    """A folder with text.txt and run/, trained on it by the command line with `devices` devices. Never written to."""
    folder = Path(tempfile.mkdtemp(prefix="lmlab-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "text.txt").write_text(text(), "utf-8")
    done = quick(*train_flags(folder / "run", folder / "text.txt", "--config.train.steps=6", "--config.evals.every=3",
                              *more),
                 XLA_FLAGS=f"--xla_force_host_platform_device_count={devices}")
    assert done.code == 0, done.err
    (folder / "out").write_text(done.out, "utf-8")
    return folder
