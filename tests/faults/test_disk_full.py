"""A disk that is full or fails: the good checkpoints stay whole, the error is one line within one save, and once there
is space the same command goes on to the uninterrupted run's end, bit for bit."""

import errno
import os
import random
import re
import resource
import subprocess

import pytest
import shim

EVER = 10 ** 9
SPENDS = "open write mkdir truncate"  # what needs space; renaming and removing do not


def check_refusal(folder, done, words):
    """A run that met a fault: it said so in one line, and it did not go on for more than a step (save_every=1)."""
    assert done.code == 1, f"code {done.code}: {done.err}"
    lines = done.err.split("\n")
    told = [line for line in lines if line.startswith("error: ")]
    assert len(told) == 1 and re.search(words, told[0]) and lines[-2:] == [told[0], ""], done.err
    assert not re.search("Traceback|Exception ignored", done.err), done.err
    steps = shim.check_steps(folder)
    if failed := re.match(r"error: checkpoint (\d+) in .* could not be saved: ", told[0]):
        number = int(failed[1])
        assert number == 1 or {number - 1, number} & set(steps), f"{steps} are left"
        assert re.search(rf"goes on from step {steps[-1]}$" if steps else "begins anew$", told[0]), told[0]
        assert max((row["step"] for row in shim.story(folder)), default=0) <= number + 1
    return told[0]


def go_on(folder, **changes):
    """The same command, the fault being gone."""
    done = shim.Verb(*shim.flags(folder, **changes)).wait()
    assert done.code == 0, done.err
    shim.check_end(folder)


def suffer(folder, words, env, **changes):
    """Trains under a fault, then without. Whether the fault was seen: a run may also get by without what failed."""
    done = shim.Verb(*shim.flags(folder, **changes), **env).wait()
    if done.code == 0:
        shim.check_steps(folder)
        shim.check_end(folder)
        return False
    check_refusal(folder, done, words)
    go_on(folder, **changes)
    return True


@pytest.mark.parametrize("name, short, full", [("full", 3, 12), ("failing", 1, 12), ("failing once", 1, 12)])
def test_from_any_write_of_a_save_on(name, short, full, tmp_path, trials, tally):
    shim.uninterrupted()
    number, pick = trials(short, full), random.Random(len(name))
    error = errno.ENOSPC if name == "full" else errno.EIO
    env = {"SHIM_PART": "/checkpoints", "SHIM_DO": error, "SHIM_FOR": 1 if "once" in name else EVER}
    env |= {"SHIM_OPS": SPENDS} if name == "full" else {}
    seen = 0
    for trial in range(number):
        at = 1 + (trial * 600 + pick.randrange(600)) // number
        try:
            seen += suffer(tmp_path / str(trial), os.strerror(error), env | {"SHIM_AT": at})
        except AssertionError as error:
            raise AssertionError(f"{tmp_path / str(trial)}, from operation {at} on: {error}") from error
    tally(f"a disk that is {name}, from any write of a save on", number, number,
          f"{seen} were told, the others harmless")
    assert seen > number / 2


@pytest.mark.parametrize("file", ["metrics.jsonl", "events.out", "ledger.jsonl", "samples/", "config.json", "run.json",
                                  "tokenizer/", "summary.json", "plots/"])
def test_every_other_file_of_a_run(file, tmp_path, trials, tally):
    """From its first write on, or a later one."""
    if not trials(0, 1) and file not in ("metrics.jsonl", "events.out"):
        pytest.skip("in the long version")
    shim.uninterrupted()
    env = {"SHIM_PART": file, "SHIM_FOR": EVER, "SHIM_OPS": SPENDS, "SHIM_DO": errno.ENOSPC}
    changes = {"evals.samples": int(file == "samples/")}
    told = [suffer(tmp_path / f"run{at}", "No space left on device", env | {"SHIM_AT": at}, **changes) for at in (1, 4)]
    tally(f"a disk that is full, at {file}", 2, 2, f"{sum(told)} were told")
    assert told[0]


def test_the_limit_of_file_sizes(tmp_path, trials, tally):
    """RLIMIT_FSIZE (ulimit -f), lowered while the run goes: too small for some files of a checkpoint (and large enough
    for the file that the error is read from)."""
    shim.uninterrupted()
    number, pick = trials(1, 6), random.Random(7)
    for trial in range(number):
        folder = tmp_path / str(trial)
        verb, after = shim.Verb(*shim.flags(folder)), pick.randrange(1, 6)
        while not any(row["step"] >= after for row in shim.story(folder)):
            assert not verb.ended(0.01), verb.wait().err
        resource.prlimit(verb.pid, resource.RLIMIT_FSIZE, (pick.choice([6000, 9000]), resource.RLIM_INFINITY))
        check_refusal(folder, verb.wait(), "File too large")
        go_on(folder)
    tally("RLIMIT_FSIZE", number, number)


def test_a_small_file_system(tmp_path, trials, tally):
    """A tmpfs with room for two checkpoints and a half, made larger when it is full."""
    shim.uninterrupted()
    folder = tmp_path / "small"
    folder.mkdir()
    size = int(subprocess.run(["du", "-sk", shim.uninterrupted()[0] / "checkpoints" / "1"], check=True,
                              capture_output=True, text=True).stdout.split()[0])
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size * 5 // 2}k", "tmpfs", folder],
                           capture_output=True)
    if mount.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        line = check_refusal(folder / "run", shim.Verb(*shim.flags(folder / "run")).wait(), "No space left on device")
        assert "checkpoint" in line and "free some space there" in line
        subprocess.run(["mount", "-o", f"remount,size={size * 9}k", folder], check=True)
        go_on(folder / "run")
    finally:
        subprocess.run(["umount", folder], check=True)
    tally("a full tmpfs", 1, 1)
