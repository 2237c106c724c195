"""What safety costs a training step: the guard on the device (train/guard.py), and what the loop asks of itself."""

import tempfile
import time
from pathlib import Path

from lmlab.bench import setting
from lmlab.train.checkpoint import Checkpoints
from lmlab.train.guard import guarded
from lmlab.utils.process import StopSignals, Watchdog
from lmlab.utils.timing import Comparison, alternate

PLAN = {"4 x 128": (80, 4), "6 x 384": (20, 1), "1 x 16": (8, 4)}  # rounds, and steps between two looks at the clock
CLAIM = 1.02


def measure(options) -> list[Comparison]:
    """The bare step, the guarded one, and the one that watches for spikes as well, in turn; then the loop."""
    found = []
    for name, size in options.chosen(setting.TINY if options.tiny else setting.SIZES).items():
        if name not in PLAN:
            continue
        count, steps = PLAN[name]
        update, state, batch = setting.make(size)
        ways = {"bare": update, "guard": guarded(update), "guard and spikes": guarded(update, spikes=6.0)}
        seconds = alternate({way: setting.stepper(function, state, batch, steps) for way, function in ways.items()},
                            options.count(count))
        bare, *each = ([s / steps for s in values] for values in seconds.values())
        loop = [s + _looks() for s in bare]
        names = [*list(ways)[1:], "watchdog, signals, failed saves (timed apart, added)"]
        found += [Comparison(f"step of {name}: {way}", bare, times, CLAIM) for way, times in zip(names, [*each, loop])]
    return found


def _looks(times=1000):
    """Seconds of what the loop does a step to see a hang, a signal or a failed save, by itself."""
    with tempfile.TemporaryDirectory() as folder, Watchdog(1800, Path(folder) / "stacks") as watch:
        checkpoints, stop = Checkpoints(folder), StopSignals()
        began = time.perf_counter()
        for _ in range(times):
            watch.at("the batch")
            watch.at("the step")
            checkpoints.poll()
            bool(stop)
        seconds = (time.perf_counter() - began) / times
        checkpoints.close()
    return seconds
