"""Of two `train` commands in one workdir the second refuses, whenever it comes."""

import re
import signal

import commands
import shim

REFUSAL = "is in use by another process; wait for it, stop it, or use another folder"


def test_the_second_of_two_refuses(tmp_path, trials, tally):
    """The second starts at a random moment of the first; whichever comes second to the lock refuses, the other ends as
    if it had been alone. Two of three times the first is stopped meanwhile, so that it cannot end before."""
    shim.uninterrupted()
    number, refused = trials(3, 30), 0
    for trial in range(number):
        folder = tmp_path / str(trial)
        argv = shim.flags(folder)
        first = shim.Verb(*argv)
        if trial % 3:  # once the first holds the lock
            while not (folder / "config.json").is_file():
                assert not first.ended(0.01), first.wait().err
            first.send(signal.SIGSTOP)
        second = commands.quick(*argv, XLA_FLAGS="")  # of the other warm process
        first.send(signal.SIGCONT)
        done = first.wait()
        loser = second if second.code else done
        refused += sorted([done.code, second.code]) == [0, 1] and bool(re.search(
            rf"error: {re.escape(str(folder))} ({REFUSAL}|was begun by another process just now)", loser.err))
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
