"""Generation, tokens a second: ours with its cache beside transformers' `generate`, the likeliest token each time."""

import contextlib
import tempfile

from lmlab.bench import rivals, setting
from lmlab.utils.timing import Race, alternate

PROMPT, NEW = 32, 128
CASES = {f"GPT-2 124M, {PROMPT} + {NEW} tokens, batch {batch}": {**setting.GPT2, "context": 1024, "batch": batch}
         for batch in (1, 8)}
TINY = {"tiny": {**setting.TINY["1 x 16"], "context": 64, "vocab_size": 211}}
ROUNDS = 8


def measure(options) -> list[Race]:
    """One race a batch; the weights are random."""
    ways = rivals.there(options, ("transformers",))
    cases = options.chosen(TINY if options.tiny else CASES)
    return [_case(name, {**size, "way": "generate", "prompt": 8 if options.tiny else PROMPT}, ways, options,
                  16 if options.tiny else NEW) for name, size in cases.items()]


def _case(name, arguments, ways, options, new):
    first = {}

    def turn(way, worker):
        seconds = worker.ask(new)["seconds"]
        first.setdefault(way, seconds)
        return seconds / (new * arguments["batch"])
    with contextlib.ExitStack() as stack:
        empty = stack.enter_context(tempfile.TemporaryDirectory())  # so that the first call compiles
        workers = {"lmlab": stack.enter_context(rivals.ours(arguments, JAX_COMPILATION_CACHE_DIR=empty))}
        workers |= {way: stack.enter_context(rivals.rival(way, arguments, options.rival)) for way in ways}
        figures = alternate({way: lambda way=way, w=w: turn(way, w) for way, w in workers.items()},
                            options.count(ROUNDS))
    return Race(name, "tokens/s", figures, tuple(ways),
                notes={"the first call": ", ".join(f"{way} {s:.2f} s" for way, s in first.items())})
