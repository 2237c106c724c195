"""Training, tokens a second: ours beside a plain GPT in PyTorch, eager and compiled, and transformers, in turn.

On a CPU also PyTorch with what run.sh tells malloc, which its users do not have and ours is not held against, and the
share of the rate at which the machine does the bare matrix products of the same step; on a GPU the share of the chip's
peak (MFU), each with the batch that fills the card.
"""

import contextlib
import os

import jax
import numpy as np

from lmlab.bench import rivals, setting
from lmlab.utils import chips
from lmlab.utils.errors import UserError
from lmlab.utils.timing import Race, alternate, ratio

SECONDS = 1.5  # that one turn takes, about
B = setting.SIZES["6 x 384"]
# name: (size, type of the computation, rounds, how many times the best rival it is said to be)
CPU = {"a: 4 x 128, block 64, batch 12": (setting.SIZES["4 x 128"], "float32", 20, 1.0),
       "b: 6 x 384, block 256, batch 8": (B, "float32", 12, 1.15),
       "c: GPT-2 124M, block 256, batch 2": (setting.GPT2, "float32", 8, 1.4),
       "b in bfloat16": (B, "bfloat16", 10, 0.0)}
# The batch is what is tried first, and halved until it fits.
GPU = {"GPT-2 124M, block 1024": ({**setting.GPT2, "context": 1024, "batch": 64}, "bfloat16", 6, 1.0),
       "GPT 1.3B, block 1024": (dict(layers=24, width=2048, heads=16, context=1024, batch=32, vocab_size=50304),
                                "bfloat16", 6, 1.0)}
COMPILED, MALLOC = "PyTorch, compiled", "compiled, our malloc"
TINY = {"tiny": (setting.TINY["1 x 16"], "float32", 6, 0.0)}


def measure(options) -> list[Race]:
    """One race a size."""
    gpu = jax.default_backend() == "gpu"
    ways = rivals.there(options, ("PyTorch",) if options.tiny else tuple(rivals.PYTORCH))
    cases = options.chosen(TINY if options.tiny else GPU if gpu else CPU)
    return [(_alone if gpu else _together)(name, case, ways, options) for name, case in cases.items()]


def start(way, size, dtype, device="cpu", script=""):
    """The worker of a way: "lmlab", "products", MALLOC, or a rival's name."""
    arguments = {"vocab_size": setting.VOCABULARY, **size, "dtype": dtype}
    if way == MALLOC:
        return rivals.rival(way, {**arguments, "way": rivals.PYTORCH[COMPILED]}, script, os.environ["GLIBC_TUNABLES"])
    if way in rivals.PYTORCH:
        return rivals.rival(way, {**arguments, "way": rivals.PYTORCH[way], "device": device}, script)
    return rivals.ours({**arguments, "way": {"lmlab": "train"}.get(way, way)})


def _together(name, case, ways, options):
    """All at once in memory, and one at a time at work."""
    size, dtype, rounds, claim = case
    tokens = size["batch"] * size["context"]
    more = [MALLOC] if COMPILED in ways and os.environ.get("GLIBC_TUNABLES") else []
    with contextlib.ExitStack() as stack:
        workers = {way: stack.enter_context(start(way, size, dtype, script=options.rival))
                   for way in ("lmlab", *ways, *more, "products")}
        steps = max(1, round((0.01 if options.tiny else SECONDS) / workers["lmlab"].ask(1)["seconds"]))

        def turn(worker):
            worker.ask(1)  # does not count: memory that a process gives back may leave the machine while others work
            return worker.ask(steps)["seconds"] / (steps * tokens)
        figures = alternate({way: lambda w=w: turn(w) for way, w in workers.items()}, options.count(rounds))
    bare = np.multiply(figures.pop("products"), workers["lmlab"].facts["flops"] / workers["products"].facts["flops"])
    share = ratio(figures["lmlab"], bare)
    notes = {"of the rate of its matrix products": f"{share.median:.1%} ({share.low:.1%} – {share.high:.1%})"}
    notes |= {f"against {way}": "{:.3f} ({:.3f} – {:.3f})".format(*ratio(figures["lmlab"], figures[way]))
              for way in more}
    return Race(name, "tokens/s", figures, tuple(ways), claim, notes)


def _alone(name, case, ways, options):
    """One process after the other, started anew for every turn, since each fills the card."""
    size, dtype, rounds, claim = case
    batches, facts = dict.fromkeys(("lmlab", *ways), size["batch"]), {}

    def turn(way):
        while True:
            batch = batches[way]
            try:
                with start(way, {**size, "batch": batch}, dtype, "cuda", options.rival) as worker:
                    steps = max(3, round(10 * SECONDS / worker.ask(3)["seconds"]))
                    facts[way] = {**worker.facts, "tokens": batch * size["context"]}
                    return worker.ask(steps)["seconds"] / (steps * facts[way]["tokens"])
            except UserError as error:
                if batch == 1 or "memory" not in str(error).lower():
                    raise
                batches[way] //= 2
    figures = alternate({way: lambda way=way: turn(way) for way in batches}, options.count(rounds))
    ours = facts["lmlab"]
    chip = chips.find(ours["device"])
    notes = {"batch": ", ".join(map(str, batches.values())), "device": ours["device"]}
    if chip:
        notes["MFU"] = f"{ours['flops'] / ours['tokens'] / np.median(figures['lmlab']) / chip.flops:.1%}"
    return Race(name, "tokens/s", figures, tuple(ways), claim, notes)
