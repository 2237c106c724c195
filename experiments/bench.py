"""Measures what things cost, side by side: rates and ratios with intervals, as a table and a picture.

    ./run.sh bench --suite=train                          # tokens a second beside PyTorch; also on a GPU
    ./run.sh bench --suite=train --case=a: --rounds=3     # one size of it, three times as long
    ./run.sh bench --out=bench                            # all suites; bench/SUITE.md, .json, .png
"""

import os
from pathlib import Path

from absl import flags, logging

from lmlab.utils import cli, environment
from lmlab.utils.errors import UserError

SUITE = flags.DEFINE_list("suite", [], "Which suites, with commas between; none: all. (train, memory, compile, decode, "
                          "data, quality, guard, checkpoint)")
CASE = flags.DEFINE_string("case", "", "Only the sizes of a suite whose name holds this.")
ROUNDS = flags.DEFINE_float("rounds", 1.0, "Times the usual number of rounds: intervals shrink with its root.")
OUT = flags.DEFINE_string("out", "", "A folder for SUITE.md, SUITE.json (every time that was taken) and SUITE.png.")
TINY = flags.DEFINE_bool("tiny", False, "At a size that says nothing, in seconds.")
RIVAL = flags.DEFINE_string("rival", "", "The program in PyTorch to be timed beside ours; the usual one is "
                            "tests/rivals/gpt.py of the checkout.")
TEXT = flags.DEFINE_string("text", "", "The file that the suite quality trains on, tiny Shakespeare; without one, only "
                           "the other suites are run.")


def main():
    """Runs the suites one after the other and prints their tables."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the card is for the processes that are timed
    from lmlab import bench
    from lmlab.bench import picture, setting
    from lmlab.utils import timing
    from lmlab.utils.files import write_json, write_text
    if not 0 < ROUNDS.value <= 1000:
        raise UserError(f"--rounds={ROUNDS.value:g} must be above 0 and at most 1000")
    environment.set_up_jax()
    logging.set_verbosity(logging.ERROR)  # Orbax warns where a save waits for the one before
    options = setting.Options(ROUNDS.value, TINY.value, CASE.value, RIVAL.value, TEXT.value)
    wanted = SUITE.value or [name for name in bench.names() if name != "quality" or TEXT.value]
    for suite in [bench.find(name) for name in wanted]:
        found = suite.measure(options)
        name = suite.__name__.split(".")[-1]
        if not found:
            raise UserError(f"--case={CASE.value}: {name} has none of that name")
        print(f"## {name}\n\n{timing.table(found)}\n", flush=True)
        if OUT.value:
            write_text(Path(OUT.value) / f"{name}.md", timing.table(found) + "\n")
            write_json(Path(OUT.value) / f"{name}.json",
                       {"machine": environment.describe(), "times": [c._asdict() for c in found]})
            picture.draw(Path(OUT.value) / f"{name}.png", found)


if __name__ == "__main__":
    cli.run(main)
