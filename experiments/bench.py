"""Measures what things cost, side by side in one process: ratios with intervals, as a table.

    ./run.sh bench                                        # all suites, a few minutes on two quiet cores
    ./run.sh bench --suite=guard --rounds=3 --out=bench   # three times as long; bench/guard.md and guard.json
"""

from pathlib import Path

from absl import flags, logging

from lmlab.utils import cli, environment
from lmlab.utils.errors import UserError

SUITE = flags.DEFINE_list("suite", [], "Which suites, with commas between; none: all. (guard, checkpoint)")
ROUNDS = flags.DEFINE_float("rounds", 1.0, "Times the usual number of rounds: intervals shrink with its root.")
OUT = flags.DEFINE_string("out", "", "A folder for SUITE.md and SUITE.json (every time that was taken).")
TINY = flags.DEFINE_bool("tiny", False, "At a size that says nothing, in seconds.")


def main():
    """Runs the suites one after the other and prints their tables."""
    from lmlab import bench
    from lmlab.utils import timing
    from lmlab.utils.files import write_json, write_text
    if not 0 < ROUNDS.value <= 1000:
        raise UserError(f"--rounds={ROUNDS.value:g} must be above 0 and at most 1000")
    environment.set_up_jax()
    logging.set_verbosity(logging.ERROR)  # Orbax warns where a save waits for the one before
    for suite in [bench.find(name) for name in SUITE.value or bench.names()]:
        found = suite.measure(ROUNDS.value, TINY.value)
        name, table = suite.__name__.split(".")[-1], timing.table(found)
        print(f"## {name}\n\n{table}\n", flush=True)
        if OUT.value:
            write_text(Path(OUT.value) / f"{name}.md", table + "\n")
            write_json(Path(OUT.value) / f"{name}.json",
                       {"machine": environment.describe(), "times": [c._asdict() for c in found]})


if __name__ == "__main__":
    cli.run(main)
