"""Time to quality: how long ours trains until it is as good as nanoGPT's setting for a CPU, beside what PyTorch needs
for all steps of that setting, in turn.

    ./run.sh bench --suite=quality --text=input.txt      # tiny Shakespeare; some ten minutes on two quiet cores

Both clocks run from the first step on: compilation and evaluations are left out.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from lmlab.bench import rivals, setting
from lmlab.utils.errors import UserError
from lmlab.utils.logs import read_metrics
from lmlab.utils.timing import Race

STEPS = 2000                      # of nanoGPT's setting, which end at 1.886 nats a character held out (README)
SEEDS = 3
NEVER = 1e6                       # seconds that a seed is said to take which does not get there
TARGETS = {1.88: 6.0, 1.75: 3.0}  # nats a character over the whole held-out split: times as fast as said to be
RECIPE, TINY = "configs/gpt.py:shakespeare_fast,evals.every=5", "configs/gpt.py:tiny,train.steps=4,evals.every=2"


def measure(options) -> list[Race]:
    """A race to each target."""
    if not options.text and not options.tiny:
        raise UserError("--suite=quality needs --text=FILE, tiny Shakespeare (input.txt of karpathy/char-rnn)")
    targets = options.chosen({f"{loss:g} nats a character": (loss, claim) for loss, claim in TARGETS.items()})
    steps = 4 if options.tiny else options.count(STEPS)
    ways, theirs, curves = rivals.there(options, ("PyTorch",)), [], []
    seeds = 1 if options.tiny else SEEDS
    for seed in range(seeds):
        print(f"seed {seed + 1} of {seeds}: {', '.join([*ways, 'lmlab'])}", file=sys.stderr, flush=True)
        if ways:
            size = setting.TINY["1 x 16"] if options.tiny else setting.SIZES["4 x 128"]
            with rivals.rival("PyTorch", {**size, "vocab_size": setting.VOCABULARY, "way": "eager"},
                              options.rival) as worker:
                theirs.append(worker.ask(steps)["seconds"] * STEPS / steps)
        curves.append(curve(TINY if options.tiny else RECIPE, seed, options.text))
    return [_race(name, loss, claim, curves, theirs) for name, (loss, claim) in targets.items()]


def curve(config, seed, text="") -> list[tuple[float, float]]:
    """[(seconds of steps so far, loss held out)] of a run of `config`, at each evaluation after the first step."""
    with tempfile.TemporaryDirectory() as folder:
        data = f",data.path={Path(text).resolve()}" if text else ""
        rivals.verb("train", f"--config={config},seed={seed},evals.samples=0,evals.baselines=false{data}",
                    f"--workdir={folder}/run")
        rows = [row for row in read_metrics(Path(folder) / "run") if "val_loss" in row and row["step"] > 1]
    # The first step is counted as compilation: it is taken to be as long as the others.
    return [((row["spent"]["step"] + row["spent"]["input"]) * row["step"] / (row["step"] - 1), row["val_loss"])
            for row in rows]


def _race(name, loss, claim, curves, theirs):
    ours = [min((seconds for seconds, found in points if found <= loss), default=NEVER) for points in curves]
    ends = ", ".join(f"{points[-1][1]:.3f} after {points[-1][0]:.3g} s" for points in curves)
    notes = {"seeds that reach it": f"{sum(seconds < NEVER for seconds in ours)} of {len(ours)}",
             "the end of each": ends}
    if theirs:
        notes["least ratio"] = f"{min(np.divide(theirs, ours)):.2f}"
    return Race(f"to {name}", "s", {"lmlab": ours, **({"PyTorch, 2,000 steps": theirs} if theirs else {})},
                ("PyTorch, 2,000 steps",) if theirs else (), claim, notes)
