"""What a save costs more than Orbax's own: the time that it blocks the loop, the steps that run beside it, and until
it is committed."""

import tempfile
import time
from pathlib import Path

import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from lmlab.bench import setting
from lmlab.train import checkpoint
from lmlab.train.guard import guarded
from lmlab.utils.timing import Comparison, alternate

ROUNDS = {"4 x 128": 200, "6 x 384": 60, "14 x 768": 6, "1 x 16": 6}
STEPS = {"4 x 128": 20, "6 x 384": 2, "1 x 16": 3}  # beside a save
CLAIM, CLAIM_STEPS = 1.15, 1.02


def measure(options) -> list[Comparison]:
    """Saves of ours and of a bare CheckpointManager, in turn, each waited for before the next begins."""
    found = []
    for name, size in options.chosen(setting.TINY if options.tiny else setting.SIZES).items():
        update, state, batch = setting.make(size)
        count = options.count(ROUNDS[name])
        with tempfile.TemporaryDirectory() as folder:  # TMPDIR= says where
            blocked, whole = _saves(state, Path(folder), count)
        found += [Comparison(f"save of {name}: blocks the loop", blocked["orbax"], blocked["ours"], CLAIM),
                  Comparison(f"save of {name}: until committed", whole["orbax"], whole["ours"])]
        if name in STEPS:
            with tempfile.TemporaryDirectory() as folder:
                beside, _ = _saves(state, Path(folder), max(6, count // 5),
                                   setting.stepper(guarded(update), state, batch, STEPS[name]))
            found += [Comparison(f"{STEPS[name]} steps of {name} and a save at the first", beside["orbax"],
                                 beside["ours"], CLAIM_STEPS)]
    return found


def _saves(state, folder, rounds, meanwhile=lambda: None):
    """({way: seconds in the call and in `meanwhile`}, {way: seconds until all is on disk})."""
    ours = checkpoint.Checkpoints(folder / "ours", keep=2)
    orbax = ocp.CheckpointManager(folder / "orbax", options=ocp.CheckpointManagerOptions(
        preservation_policy=checkpoint_managers.LatestN(2)))
    ways = {"orbax": (lambda n: orbax.save(n, args=checkpoint.save_args(state), force=True),
                      orbax.wait_until_finished), "ours": (lambda n: ours.save(n, state), ours.wait)}
    numbers, waited = {way: 0 for way in ways}, {way: [] for way in ways}

    def save(way):
        begin, wait = ways[way]
        numbers[way] += 1
        start = time.perf_counter()
        begin(numbers[way])
        meanwhile()
        called = time.perf_counter()
        wait()
        waited[way].append(time.perf_counter() - start)
        return called - start
    blocked = alternate({way: lambda way=way: save(way) for way in ways}, rounds)
    ours.close()
    orbax.close()
    return blocked, {way: values[1:] for way, values in waited.items()}  # the first was the warm-up
