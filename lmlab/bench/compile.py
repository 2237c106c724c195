"""From the command to the first training step: seconds of a fresh process, with an empty compilation cache and with one
that has the step; and that they do not grow with the depth where the layers are one scan."""

import tempfile

from lmlab.bench import rivals, setting
from lmlab.utils.timing import Race, alternate

DEPTHS = (12, 24, 48)
ROUNDS = 2
_deep = lambda layers, unroll: dict(layers=layers, width=128, heads=4, context=64, batch=12, unroll=unroll)
CASES = {"a: 4 x 128": setting.SIZES["4 x 128"], "b: 6 x 384": setting.SIZES["6 x 384"], "c: GPT-2 124M": setting.GPT2,
         **{f"{layers} x 128, scan": _deep(layers, 1) for layers in DEPTHS},
         **{f"{layers} x 128, unrolled": _deep(layers, layers) for layers in DEPTHS}}
PARTS = ("import", "tracing", "compilation")


def measure(options) -> list[Race]:
    """One race a size, a process a figure; no text is read and nothing saved, the rest is as in a run."""
    return [_case(name, size, options) for name, size in
            options.chosen(setting.TINY if options.tiny else CASES).items()]


def _case(name, size, options):
    starts = {"cold": [], "cached": []}
    with tempfile.TemporaryDirectory() as kept:
        def start(way, folder):
            with rivals.ours({"vocab_size": setting.VOCABULARY, **size, "way": "train"},
                             JAX_COMPILATION_CACHE_DIR=folder) as worker:
                starts[way].append(worker.facts["start"])
            return starts[way][-1]["all"]

        def cold():
            with tempfile.TemporaryDirectory() as empty:
                return start("cold", empty)
        # Each is called once untimed, which fills the kept cache and brings the files of Python's packages into memory.
        figures = alternate({"cold": cold, "cached": lambda: start("cached", kept)},
                            1 if options.tiny else options.count(ROUNDS))
    return Race(name, "s", figures, notes={way: _told(found[1:]) for way, found in starts.items()})


def _told(starts):
    """The parts of a start in words: the middle one of those that were timed."""
    middle = sorted(starts, key=lambda start: start["all"])[len(starts) // 2]
    parts = [f"{name} {middle[name]:.1f}" for name in PARTS]
    rest = middle["all"] - sum(middle[name] for name in PARTS)
    return ", ".join([*parts, f"the rest {rest:.1f}"])
