"""The most memory that training GPT-2 124M takes, one row of 1,024 tokens a step: of fresh processes, as the system
counts it (peak resident set), ours with malloc as rivals have it and with what run.sh tells it, which is faster and
takes more; and what the compiled step says of itself, with its loss in pieces and whole."""

import os

from lmlab.bench import rivals, setting
from lmlab.utils.timing import Race, alternate

ROUNDS, STEPS = 6, 3  # fewer rounds have no 95 % interval
SIZE = {**setting.GPT2, "context": 1024, "batch": 1}
OURS = dict(chunk=128, remat="full", unroll=1)  # positions whose logits exist at once; what is recomputed; one scan
TINY = {**setting.TINY["1 x 16"], "context": 64, "batch": 1, "vocab_size": 211}
GiB = 2 ** 30


def measure(options) -> list[Race]:
    """One race of processes, and one of the compiled step's temporaries."""
    size, ours = (TINY, {**OURS, "chunk": 8}) if options.tiny else (SIZE, OURS)
    ways = rivals.there(options, ("PyTorch",) if options.tiny else ("PyTorch", "transformers"))
    found = []
    if options.case in "resident":
        mallocs = {"lmlab": None, "lmlab, our malloc": os.environ.get("GLIBC_TUNABLES")}
        calls = {way: lambda told=told: _peak(rivals.ours({**size, **ours, "way": "train"}, GLIBC_TUNABLES=told))
                 for way, told in mallocs.items() if told or way == "lmlab"}
        calls |= {way: lambda way=way: _peak(rivals.rival(way, {**size, "way": rivals.PYTORCH[way]}, options.rival))
                  for way in ways}
        figures = alternate(calls, options.count(1 if options.tiny else ROUNDS))
        found.append(Race("resident, at the most", "GiB", figures, tuple(ways), 1.0))
    if options.case in "temporaries":
        found.append(_temporaries(size, ours))
    return found


def _peak(worker):
    """GiB at the most, of a worker that takes a few steps."""
    with worker:
        worker.ask(STEPS)
        return worker.peak() / GiB


def _temporaries(size, ours):
    """Beside its arguments, by the compiler's own count."""
    ways = {f"loss in pieces of {ours['chunk']}, remat={ours['remat']}": ours,
            "in pieces alone": {"chunk": ours["chunk"]}, "whole": {"chunk": size["context"]}}
    facts = {}
    for way, how in ways.items():
        with rivals.ours({**size, **how, "way": "train", "analyse": True}) as worker:
            facts[way] = worker.facts
    tokens = size["batch"] * size["context"]
    return Race("temporaries of the compiled step", "GiB", {way: [f["temporaries"] / GiB] for way, f in facts.items()},
                notes={f"arrays of {size['vocab_size']:,} x {tokens:,} or more":
                       ", ".join("some" if f["whole"] else "none" for f in facts.values())})
