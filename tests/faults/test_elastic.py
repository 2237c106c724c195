"""A run goes on with any number of devices, laid out in any way, in one process or two: same state, same batches.

The losses compared are those of the layout that saved, had it gone on; the ledger is the uninterrupted run's.
"""

import itertools
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import commands
import elastic
import numpy as np
import pytest

from lmlab.train import checkpoint
from lmlab.utils import processes

LIMIT = 600   # seconds that tell a hang from an answer
TWO = "2 processes"
CHAIN = ("8", "4", "2x2", "1", TWO, "8")
FLAGS = ("--config.train.batch=8", "--config.train.ledger=true", "--config.optimizer.schedule=constant",
         "--config.model.dropout=0.1", "--config.train.windows=packed", "--config.evals.every=1000",
         "--config.evals.samples=0", "--config.evals.baselines=false", "--config.model.context=16")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A small text."""
    path = tmp_path_factory.mktemp("elastic") / "text.txt"
    path.write_text(commands.text(words=1200), "utf-8")
    return path


def start(argv, devices):
    """Two processes that know of one another, each with so many devices."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    signs = lambda i: dict(zip(processes.SIGNS, (f"localhost:{port}", "2", str(i))))
    return [subprocess.Popen([sys.executable, *map(str, argv)], cwd=commands.REPOSITORY, encoding="utf-8",
                             env=commands.environment(devices, **signs(i)), stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT) for i in range(2)]


def outcome(started):
    """[(exit code, output)] of processes; those that hang are killed."""
    done = []
    for process in started:
        try:
            output = process.communicate(timeout=LIMIT)[0]
            done.append((process.returncode, output))
        except subprocess.TimeoutExpired:
            for other in started:
                other.kill()
            raise
    return done


def verb(folder, text, *more, devices):
    """Starts `train` on the tiny preset in two processes."""
    return start(["-m", "experiments.train", *commands.train_flags(folder, text, *FLAGS, *more)[1:]], devices)


def train(name, folder, text, *more):
    """Runs `train` on a layout of MESHES, or on 2 processes of 4 devices each."""
    if name == TWO:
        done = outcome(verb(folder, text, *more, devices=4))
    else:
        parallel, mesh, devices = elastic.MESHES[name]
        flags = [f"--config.train.parallel={parallel}", *(f"--config.mesh.{k}={v}" for k, v in mesh.items())]
        done = [commands.quick(*commands.train_flags(folder, text, *FLAGS, *flags, *more),
                               XLA_FLAGS=f"--xla_force_host_platform_device_count={devices}")]
    assert all(each[0] == 0 for each in done), done


def ledger(folder):
    """{step: {place in the global batch: what stood there}} of a run, over all that its processes wrote down."""
    steps = {}
    for path in Path(folder).glob("ledger*.jsonl"):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            steps.setdefault(row["step"], {}).update(row["rows"])
    return steps


def losses(folder):
    """{step: loss} of a run that logs every step."""
    rows = (json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines())
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


@pytest.fixture(scope="module")
def whole(text):
    """An uninterrupted run of 12 steps on eight devices."""
    folder = text.parent / "whole"
    train("8", folder, text, "--config.train.steps=12")
    assert sorted(ledger(folder)) == list(range(1, 13)) and all(len(rows) == 8 for rows in ledger(folder).values())
    return folder


def test_chain_of_layouts_takes_the_same_rows(text, whole, tally):
    """8 -> 4 -> 2x2 -> 1 -> 2 processes -> 8, two steps each, by the train verb."""
    folder = text.parent / "chain"
    for steps, name in zip(itertools.count(2, 2), CHAIN):
        train(name, folder, text, f"--config.train.steps={steps}")
    want, got = losses(whole), losses(folder)
    off = max(abs(got[step] / want[step] - 1) for step in want)
    same, changes = ledger(folder) == ledger(whole), len(CHAIN) - 1
    tally("layout changes in one run, by the verb", changes, changes * same,
          f"{' -> '.join(CHAIN)}; same rows, losses within {off:.0e}")
    assert same
    assert got.keys() == want.keys() and off <= 1e-5  # twelve steps of rounding


def test_every_layout_goes_on_from_every_other(text, trials, tally):
    """The state bit for bit, and the loss of the next step, of ordered pairs; layouts of 2 processes among them."""
    names, ours = trials((["2x2"], ["pmap"]),
                         (list(elastic.MESHES), ["8", "fsdp", "tensor", "tensor8", "context", "pmap"]))
    here = {name: elastic.layout(name, text) for name in names}
    told = {name: layout.save(text.parent / name) for name, layout in here.items()}
    read = {f"{a} -> {b}": here[b].read(text.parent / a) for a in names for b in names}
    done = outcome(start([Path(elastic.__file__), text.parent, ",".join(ours), ",".join(names)], 4))
    assert [code for code, _ in done] == [0, 0], done[0][1] + done[1][1]
    found = json.loads((text.parent / "found.json").read_text())
    told, read = told | found["saved"], read | found["read"]
    read |= {f"{a} -> {b}": here[b].read(text.parent / a) for a in found["saved"] for b in names}
    writer = lambda pair: told[pair.split(" -> ")[0]]
    bitwise = {pair for pair in read if read[pair]["digest"] == writer(pair)["digest"]}
    off = {pair: abs(read[pair]["loss"] / writer(pair)["loss"] - 1) for pair in read}
    good = {pair for pair in bitwise if off[pair] <= 1e-6}
    tally("another layout goes on", len(read), len(good),
          f"{len(told)} layouts; next loss within {max(off.values()):.0e}")
    assert good == read.keys(), {pair: (pair in bitwise, off[pair]) for pair in read.keys() - good}
    new = here[names[0]]
    assert new.digest(new.strategy.init()) != told[names[0]]["digest"]  # it tells states apart


def wait_for(condition, started):
    """Waits until `condition()`; fails where a process ends before."""
    until = time.monotonic() + LIMIT
    while not condition():
        assert all(process.poll() is None for process in started), outcome(started)
        assert time.monotonic() < until, outcome(started)
        time.sleep(0.05)


def running(folder, text, steps, *more):
    """Two processes of 2 devices in the middle of a long run, after `steps` steps of it."""
    started = verb(folder, text, "--config.train.steps=100000", "--config.train.save_every=5", *more, devices=2)
    rows = lambda: Path(folder, "metrics.jsonl").is_file() and len(losses(folder)) > steps
    wait_for(rows, started)
    return started


def test_signal_to_one_of_two_processes_ends_both_after_the_same_step(text, trials, tally):
    """SIGTERM to either, at a random step: both exit with 0, and the last step logged is saved and in both ledgers.
    Every second time each process holds all rows of a batch, a part of the model apart."""
    count, good, rng = trials(2, 8), 0, np.random.default_rng(0)
    tensor = ("--config.mesh.data=1", "--config.mesh.tensor=4", "--config.model.heads=4")
    for trial in range(count):
        folder = text.parent / f"term-{trial}"
        started = running(folder, text, int(rng.integers(2, 12)), *(tensor if trial % 2 else ()))
        started[trial // 2 % 2].send_signal(signal.SIGTERM)
        done = outcome(started)
        last = max(losses(folder))
        ends = [max(json.loads(line)["step"] for line in (folder / name).read_text().splitlines())
                for name in ("ledger.jsonl", "ledger.1.jsonl")]
        fine = [code for code, _ in done] == [0, 0] and checkpoint.newest(folder / "checkpoints") == last and ends == [
            last, last]
        good += fine
        if not fine:
            print(trial, done, last, ends, checkpoint.newest(folder / "checkpoints"))
    tally("SIGTERM to one of two processes", count, good)
    assert good == count


def test_death_of_one_of_two_processes_ends_the_other_and_the_run_goes_on(text, whole, trials, tally):
    """kill -9 of either: the other ends by itself with an error; another layout goes on, over the same rows."""
    count, good = trials(1, 4), 0
    for trial in range(count):
        folder = text.parent / f"kill-{trial}"
        started = running(folder, text, 6, "--config.train.parallel=pmap")
        victim = (trial + 1) % 2
        started[victim].kill()
        began = time.monotonic()
        codes = [code for code, _ in outcome(started)]
        seconds = time.monotonic() - began
        saved = checkpoint.newest(folder / "checkpoints")
        train("2x2", folder, text, f"--config.train.steps={max(12, saved + 2)}")
        rows, want = ledger(folder), ledger(whole)
        good += codes[1 - victim] not in (0, -9) and all(rows[step] == want[step] for step in want)
    tally("kill -9 of one of two processes", count, good, f"the other ended after {seconds:.0f} s")
    assert good == count


def test_error_of_one_process_is_told_by_both(text):
    """A folder in use refuses both with the same line."""
    from lmlab.utils.files import only_one
    folder = text.parent / "held"
    with only_one(folder):
        done = outcome(verb(folder, text, "--config.train.steps=2", devices=1))
    assert all(code == 1 and "error: " in output and "in use" in output for code, output in done), done
