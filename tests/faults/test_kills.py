"""kill -9 loses no commit and changes no bit: at random moments, and at every file operation of a save."""

import random
import signal
import time

import pytest
import shim


def outlive(folder, hits):
    """Trains run after run, each hit ending a session; a run that is done is compared and a new one begun.

    hits: (name, {variables for shim.c}, None or the seconds after which the session is killed).
    Returns (kills, those in a save, runs).
    """
    runs, in_a_save, before, left, where = 0, 0, (), set(), folder / "0"
    for name, env, after in [*hits, ("the end", {}, None)]:
        while True:
            verb = shim.Verb(*shim.flags(where), **{"SHIM_PART": "/checkpoints", **env})
            if after is not None and not verb.ended(after):
                verb.send(signal.SIGKILL)
            done = verb.wait()
            try:
                before = shim.check_steps(where, before)
                # Row n is written after the save of n - 1 has begun, and that begins when n - 2 is there to stay.
                told = max((row["step"] for row in shim.story(where)), default=0)
                assert told <= max(before, default=0) + 2, f"row {told} is there, checkpoints {before}"
                if done.code == -signal.SIGKILL:
                    begun, left = shim.unsealed(where) - left, shim.unsealed(where)
                    in_a_save += bool(begun)  # by this session: not what an earlier one has left
                    break
                assert done.code == 0, done.err
                shim.check_end(where)
            except AssertionError as error:
                raise AssertionError(f"{where}, {name}: {error}") from error
            runs, before, left, where = runs + 1, (), set(), folder / str(runs + 1)
            if name == "the end":
                return len(hits), in_a_save, runs
            after = after and after / 2  # the run was done before the hit: the same again, in a new one


def test_killed_at_any_file_operation_of_a_save(tmp_path, trials, tally):
    """Operations 1 to 640 of a session, which are those of about three saves and their removals; and each operation on
    the manifest, which is written after Orbax's commit."""
    shim.uninterrupted()
    number = trials(8, 130)
    pick = random.Random(4)
    hits = [(f"operation {at}, {act}", {"SHIM_AT": at, "SHIM_DO": act}, None) for at, act in (
        (1 + (i * 640 + pick.randrange(640)) // number, pick.choice(["kill", "torn"])) for i in range(number))]
    hits += [(f"operation {at} on a manifest, {act}", {"SHIM_PART": "manifest.json", "SHIM_AT": at, "SHIM_DO": act},
              None) for at in range(1, trials(2, 7)) for act in ("kill", "torn")]
    pick.shuffle(hits)
    kills, in_a_save, runs = outlive(tmp_path, hits)
    tally("kill -9 at a file operation", kills, kills, f"{in_a_save} in a save, {runs} runs to their end")
    assert in_a_save >= kills * 80 / 142


def test_killed_at_any_moment(tmp_path, trials, tally):
    shim.uninterrupted()
    began = time.monotonic()
    assert shim.Verb(*shim.flags(tmp_path / "timed")).wait().code == 0
    seconds, pick = time.monotonic() - began, random.Random(5)
    hits = [(f"after {after:.2f} s", {}, after) for after in (
        pick.uniform(0, seconds) for _ in range(trials(4, 70)))]
    kills, in_a_save, runs = outlive(tmp_path, hits)
    tally("kill -9 at a random moment", kills, kills, f"{in_a_save} in a save, {runs} runs to their end")


def test_cut_and_resumed_is_as_if_never_cut(tmp_path, trials, tally):
    """Stopped at a random step by SIGTERM or kill -9, then run to the end."""
    shim.uninterrupted()
    number, pick = trials(2, 10), random.Random(6)
    for cut in range(number):
        step, how = pick.randrange(1, shim.STEPS - 2), (signal.SIGTERM, signal.SIGKILL)[cut % 2]
        for attempt in range(9):  # it may be done before the cut
            folder = tmp_path / f"{cut}.{attempt}"
            verb = shim.Verb(*shim.flags(folder))
            while not any(row["step"] >= step for row in shim.story(folder)) and not verb.ended(0.002):
                pass
            verb.send(how)
            code, steps = verb.wait().code, shim.check_steps(folder)
            if max(steps, default=0) < shim.STEPS:
                break
        assert max(steps, default=0) < shim.STEPS and code == (0 if how == signal.SIGTERM else -how)
        assert shim.Verb(*shim.flags(folder)).wait().code == 0
        shim.check_end(folder)
    tally("stopped and resumed, bit for bit", number, number, "state, losses; 0 rows repeated or left out")


def test_the_checks_bite(tmp_path):
    """A control: a step that was lost, one that is not what it was, and a run that read a row twice are found."""
    import shutil
    whole, _ = shim.uninterrupted()
    folder = shutil.copytree(whole, tmp_path / "copy")
    shutil.rmtree(folder / "checkpoints" / "8")
    with pytest.raises(AssertionError, match="step 8 is lost"):
        shim.check_steps(folder, [8])
    shutil.copytree(folder / "checkpoints" / "6", folder / "checkpoints" / "8")
    with pytest.raises(AssertionError, match="step 8 is not as it was"):
        shim.check_steps(folder, [8])
    shutil.rmtree(folder / "checkpoints" / "8")
    shutil.copytree(whole / "checkpoints" / "8", folder / "checkpoints" / "8")
    shim.check_end(folder)
    lines = (folder / "ledger.jsonl").read_text().splitlines(keepends=True)
    (folder / "ledger.jsonl").write_text("".join([*lines[:-1], lines[-2]]))
    with pytest.raises(AssertionError):
        shim.check_end(folder)
