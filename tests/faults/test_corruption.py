"""Damage to every file of a checkpoint and of a run: named, never silent; beside it, what Orbax alone does.

Each trial harms the newest step (or the two newest, or all) of a run with three, and asks three things of us: is the
harmed file named, is the newest good step restored bit for bit, is the number saved again and whole? The same bytes
are first given to a bare CheckpointManager in another process.
"""

import collections
import os
import random
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from orbax_alone import same, state_of, target

from commands import environment, rewrite, snapshot, tiny
from lmlab import run
from lmlab.data import tokenizers
from lmlab.data.tokenizers import plain
from lmlab.train import checkpoint
from lmlab.utils import logs
from lmlab.utils.errors import UserError

STEPS = (1, 2, 3)
PATIENCE = 30  # seconds until Orbax counts as hanging


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run folder with three whole checkpoints."""
    folder = tmp_path_factory.mktemp("corruption") / "run"
    save(folder, *STEPS)
    return folder


def save(folder, *steps):
    """Saves the states of steps, as a run does."""
    checkpoints = checkpoint.Checkpoints(folder / "checkpoints", keep=9)
    for step in steps:
        checkpoints.save(step, state_of(step))
    checkpoints.close()


# --- harm: (pick, file, all files of the step, another step's folder) -> None. Each must leave other bytes than before.

def flip(pick, file, *_):
    content = bytearray(file.read_bytes())
    content[pick.randrange(len(content))] ^= 1 << pick.randrange(8)
    file.write_bytes(content)


def zero_a_range(pick, file, *_):
    content = file.read_bytes()
    begin = pick.choice([i for i, byte in enumerate(content) if byte])
    end = min(len(content), begin + pick.randint(1, 4096))
    file.write_bytes(content[:begin] + bytes(end - begin) + content[end:])


def zero(pick, file, *_):
    file.write_bytes(bytes(file.stat().st_size))


def scramble(pick, file, *_):
    content = file.read_bytes()
    begin = pick.randrange(len(content))
    file.write_bytes(content[:begin] + pick.randbytes(64))


def truncate(pick, file, *_):
    file.write_bytes(file.read_bytes()[:pick.randrange(file.stat().st_size)])


def append(pick, file, *_):
    file.write_bytes(file.read_bytes() + pick.randbytes(pick.randint(1, 64)))


def remove(pick, file, *_):
    file.unlink()


def swap(pick, file, files, _):
    other = pick.choice([f for f in files if f.read_bytes() != file.read_bytes()])
    mine = file.read_bytes()
    file.write_bytes(other.read_bytes())
    other.write_bytes(mine)


def from_another_step(pick, file, files, other):
    """Of the same name, where that step has one (the data files' names are random)."""
    twin = other / file.relative_to(root(file))
    theirs = [twin] if twin.is_file() and twin.read_bytes() != file.read_bytes() else sorted(
        f for f in other.rglob("*") if f.is_file() and f.read_bytes() != file.read_bytes())
    file.write_bytes(pick.choice(theirs).read_bytes())


def add(pick, file, *_):
    file.with_name("copy_of_" + file.name).write_bytes(file.read_bytes())


def to_folder(pick, file, *_):
    file.unlink()
    file.mkdir()


def to_link(pick, file, files, other):
    """To nowhere, or to another file."""
    file.unlink()
    file.symlink_to(pick.choice(["/nowhere", other / "params" / "_METADATA", *other.rglob("manifest.ocdbt")]))


def remove_folder(pick, file, *_):
    shutil.rmtree(file.parent)


def empty_folder(pick, file, *_):
    shutil.rmtree(file.parent)
    file.parent.mkdir()


def step_to_file(pick, file, *_):
    shutil.rmtree(root(file))
    root(file).write_bytes(b"")


def step_from_another(pick, file, files, other):
    shutil.rmtree(root(file))
    shutil.copytree(other, root(file), symlinks=True)


HARMS = [flip] * 6 + [zero_a_range] * 2 + [zero, scramble, truncate, truncate, append, remove, remove, swap,
                                           from_another_step, add, to_folder, to_link, remove_folder, empty_folder,
                                           step_to_file, step_from_another]
NEED_BYTES = (flip, zero_a_range, zero, scramble, truncate, swap)


def root(file):
    """The folder checkpoints/STEP that a file lies in."""
    return next(p for p in file.parents if p.parent.name == "checkpoints")


def harm(pick, folder, saved):
    """Harms the newest steps of a run, each in one way; returns {step: the name of the way}."""
    harmed = {}
    for step in STEPS[-pick.choices([1, 2, 3], [6, 2, 2])[0]:]:
        way = pick.choice(HARMS)
        files = everything = sorted(p for p in (folder / "checkpoints" / str(step)).rglob("*") if p.is_file())
        if way in NEED_BYTES:
            files = [f for f in files if any(f.read_bytes())]
        if way in NEED_BYTES and pick.random() < 0.5:  # as the disk would: most bytes are arrays
            files = pick.choices(files, [f.stat().st_size for f in files])
        if way is remove_folder:  # a step that is gone altogether is one that was never saved
            files = [f for f in files if f.parent != root(f)]
        other = saved / "checkpoints" / str(pick.choice([s for s in STEPS if s != step]))
        way(pick, pick.choice(files), everything, other)
        harmed[step] = way.__name__
    return harmed


def changed(folder, saved, step):
    """The paths of a step whose bytes are not those that were saved."""
    here, there = (snapshot(f / "checkpoints" / str(step)) for f in (folder, saved))
    return {name for name in here.keys() | there.keys() if here.get(name) != there.get(name)}


def ours(folder, saved, harmed):
    """What we make of a harmed run: "named" (and the step before restored), "refused", "harmless"; or "SILENT: why"."""
    differs = {step: changed(folder, saved, step) for step in harmed}
    before, told, start = snapshot(folder), [], None
    try:
        start = checkpoint.newest(folder / "checkpoints", repair=True, log=told.append)
        state = start and run.restore(folder, start, target())
    except UserError as error:
        if start is None and (len(harmed) < len(STEPS) or snapshot(folder) != before):
            return f"SILENT: refused, or touched, what is good: {error}"
        if start is not None and harmed.get(start) != step_from_another.__name__:
            return f"SILENT: step {start} is whole and was refused: {error}"
        blamed = [start] if start else harmed
        return "refused" if any(f"checkpoints/{step}" in str(error) for step in blamed) else f"SILENT: {error}"
    if start is None or not same(state, start):
        return f"SILENT: went on from {start}, which is not as it was saved"
    if start in harmed:
        return "harmless" if differs[start] <= {checkpoint.MANIFEST} else "SILENT: harm that was not seen"
    for step in harmed:
        words = [line for line in told if f"checkpoint {step} " in line]
        names = [f"checkpoints/{step}/{name}" for name in differs[step]]
        named = checkpoint.MANIFEST in differs[step] or any(name in "".join(words) for name in names)
        if len(words) != 1 or not named:  # a manifest that is another file may blame any
            return f"SILENT: {words} for {names}"
    save(folder, *range(start + 1, STEPS[-1] + 1))
    if checkpoint.newest(folder / "checkpoints", log=told.append) != STEPS[-1] \
            or not same(run.restore(folder, STEPS[-1], target()), STEPS[-1]):
        return "SILENT: the numbers were not saved again"
    return "named"


class OrbaxAlone:
    """The other process; started again when it dies or hangs."""

    def __init__(self):
        self._process = None

    def ask(self, folder):
        """Gives it a folder."""
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen([sys.executable, Path(__file__).with_name("orbax_alone.py")], text=True,
                                             env=environment(1), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                             stderr=subprocess.DEVNULL)
        self._process.stdin.write(f"{folder}\n")
        self._process.stdin.flush()

    def answer(self):
        """Its verdict, "crash" or "hang"."""
        if not select.select([self._process.stdout], [], [], PATIENCE)[0]:
            self.close()
            return "hang"
        return self._process.stdout.readline().strip() or "crash"

    def close(self):
        """Ends it."""
        if self._process:
            self._process.kill()
            self._process.communicate()


@pytest.fixture
def alone():
    """Orbax alone."""
    process = OrbaxAlone()
    yield process
    process.close()


def told(counts):
    """{"as saved": 3, ...} in words."""
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())


def test_no_harm_to_a_checkpoint_is_silent(saved, tmp_path, alone, trials, tally, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)  # the disk itself is not what is tried here
    mine, theirs, flips, silent = collections.Counter(), collections.Counter(), collections.Counter(), []
    count = trials(60, 1000)
    alone.ask(saved / "checkpoints")
    assert alone.answer() == "as saved"  # the control: what is whole
    for trial in range(count):
        pick = random.Random(trial)
        folder = shutil.copytree(saved, tmp_path / "trial" / "run")
        harmed = harm(pick, folder, saved)
        alone.ask(shutil.copytree(folder / "checkpoints", tmp_path / "trial" / "alone", symlinks=True))
        verdict = ours(folder, saved, harmed)
        if verdict.startswith("SILENT"):
            silent.append(f"trial {trial}, {harmed}: {verdict}")
        mine[verdict.split(":")[0]] += 1
        answer = alone.answer()
        theirs[answer] += 1
        flips[answer] += harmed == {STEPS[-1]: flip.__name__}
        shutil.rmtree(tmp_path / "trial")
    tally("a corrupted checkpoint", count, count - len(silent), told(mine))
    tally("the same bytes, Orbax alone", count, count - theirs["silently WRONG"] - theirs["crash"] - theirs["hang"],
          f"{told(theirs)}; where it was one flipped bit: {told(+flips)}")
    assert not silent, "\n".join(silent)
    assert mine["named"] > count / 3 and mine["refused"] > count / 20
    assert theirs["silently WRONG"], "the harm is too mild to show anything"


# --- the rest of the run folder ---

BYTES = (*[flip] * 6, zero_a_range, zero, scramble, truncate, append)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """Another run, of the same shapes: another seed, another tokenizer."""
    folder = shutil.copytree(tiny() / "run", tmp_path_factory.mktemp("stranger") / "run")
    run.save_tokenizer(plain.Chars("".join(map(chr, range(32, 32 + 255)))), folder)
    rewrite(folder, '"seed": 0', '"seed": 1')
    rewrite(folder, (tiny() / "run" / "tokenizer" / "sha256").read_text().strip(),
            (folder / "tokenizer" / "sha256").read_text().strip(), ["run.json"])
    return folder


def harm_texts(pick, folder, stranger):
    """Harms a file beside the checkpoints in one way; returns what was done, in words."""
    files = [folder / name for name in ("config.json", "run.json", "summary.json", "metrics.jsonl",
                                        "tokenizer/lmlab_tokenizer.json", "tokenizer/sha256")]
    file = pick.choice(files)
    way = pick.choice([*BYTES, remove, swap, to_folder, "from another run"])
    if way == "from another run":
        file = file.parent if file.parent.name == "tokenizer" else file
        shutil.rmtree(file) if file.is_dir() else file.unlink()
        theirs = stranger / file.relative_to(folder)
        (shutil.copytree if theirs.is_dir() else shutil.copyfile)(theirs, file)
        return f"{file.name} {way}"
    way(pick, file, files, None)
    return f"{file.name} {way.__name__}"


def read_texts(folder):
    """All that a resume, `generate` or `evaluate` takes from beside the checkpoints, but for the log."""
    record = run.read_record(folder)
    if not record:
        raise UserError("run.json is missing")  # as run.check_text says, which a resume asks
    return run.load_config(folder).to_dict(), tokenizers.digest(run.load_tokenizer(folder)), record["text"]


def test_no_harm_to_the_rest_of_a_run_is_silent(stranger, tmp_path, trials, tally):
    """A changed figure in metrics.jsonl or summary.json changes no training: the first is a log without digests (a
    damaged line is left out), the second is then read as none."""
    good, summary = read_texts(tiny() / "run"), run.read_summary(tiny() / "run")
    assert read_texts(stranger) != good  # the control: it is whole, and another
    verdicts, silent = collections.Counter(), []
    count = trials(100, 1000)
    for trial in range(count):
        folder = shutil.copytree(tiny() / "run", tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
        what = harm_texts(random.Random(trial), folder, stranger)  # whose summary is the same
        try:
            wrong = read_texts(folder) != good
            verdict = "silent" if wrong else "harmless"
            rows, file = logs.go_on(folder / "metrics.jsonl", 6)
            file.close()
            assert all(isinstance(row["step"], int) for row in rows)
        except (UserError, IsADirectoryError) as error:  # either is one line to a user
            verdict = "named" if str(folder) in str(error) or "run.json" in str(error) else "silent"
        if any(summary.get(name, figure) != figure for name, figure in run.read_summary(folder).items()):
            verdict = "silent"
        silent += [f"trial {trial}: {what}"] if verdict == "silent" else []
        verdicts[verdict] += 1
        shutil.rmtree(folder)
    tally("a corrupted config, record, tokenizer or log", count, count - len(silent), told(verdicts))
    assert not silent, "\n".join(silent)
    assert verdicts["named"] > count / 3
