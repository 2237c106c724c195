"""Of two `train` commands in one workdir the second refuses, whenever it comes."""

import random
import re

import commands
import pytest
import shim

REFUSAL = "is in use by another process; wait for it, stop it, or use another folder"


def test_the_second_of_two_refuses(tmp_path, trials, tally):
    """The second starts at a random moment of the first; whichever comes second to the lock refuses, the other ends as
    if it had been alone."""
    shim.uninterrupted()
    number, refused, pick = trials(3, 30), 0, random.Random(8)
    for trial in range(number):
        folder = tmp_path / str(trial)
        argv = shim.flags(folder)
        first = shim.Verb(*argv)
        if trial % 3:  # once the first holds the lock; else at any moment, the first ones included
            while not (folder / "config.json").is_file():
                assert not first.ended(0.01), first.wait().err
        first.ended(pick.uniform(0, 1))
        second = commands.quick(*argv, XLA_FLAGS="")  # of the other warm process
        running = not first.ended(0)
        done = first.wait()
        codes = sorted([done.code, second.code])
        loser = second if second.code else done
        if codes == [0, 1]:
            refused += bool(re.search(rf"error: {re.escape(str(folder))} {REFUSAL}", loser.err))
        elif codes == [0, 0] and not running:  # the first was done before the second came to the lock
            refused += 1
        shim.check_end(folder)
    tally("two runs in one workdir", number, refused, "the second refuses")
    assert refused == number


def test_the_lock_goes_with_the_process(tmp_path):
    """kill -9 leaves no lock behind."""
    shim.uninterrupted()
    done = shim.Verb(*shim.flags(tmp_path / "run"), SHIM_PART="/checkpoints", SHIM_AT=5, SHIM_DO="kill").wait()
    assert done.code == -9
    assert shim.Verb(*shim.flags(tmp_path / "run")).wait().code == 0
    shim.check_end(tmp_path / "run")


def test_the_check_bites(tmp_path, monkeypatch):
    """A control: without the lock both would train."""
    from lmlab.utils import files
    with files.only_one(tmp_path), pytest.raises(files.UserError, match=REFUSAL):
        with files.only_one(tmp_path):
            pass
