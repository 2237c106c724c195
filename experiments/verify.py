"""Checks every part of a run: config, record, tokenizer, logs, checkpoints. It changes nothing; exit code 1: damage.

    ./run.sh verify --run=runs/x
"""

import itertools
import re
from pathlib import Path

from absl import flags
from tqdm import tqdm

from lmlab.utils import cli, sealed
from lmlab.utils.errors import UserError, did_you_mean
from lmlab.utils.files import in_use
from lmlab.utils.logs import METRICS, check_rows

RUN = flags.DEFINE_string("run", None, "A run folder. It may be training.", required=True)
WHOLE, DAMAGED, NOTED = "whole", "DAMAGED", "-"


def main():
    """Prints a line for each part of the run, and at the end what would do."""
    folder = Path(RUN.value)
    if not (folder / "config.json").exists() and not (folder / "checkpoints").is_dir():
        runs = [p.parent.name for p in folder.parent.glob("*/config.json")]
        raise UserError(f"{folder} is no run folder{did_you_mean(folder.name, runs)}")
    training = in_use(folder)
    print(f"{folder}{', in use by a process that trains it' if training else ''}")
    seen, newest, place = [], "none", re.escape(str(folder))
    for name, state, text in itertools.chain(texts(folder), checkpoints(folder / "checkpoints", training)):
        print(f"  {name:20} {state:8} {re.sub(f'{place}/({re.escape(name)}[ /])?', '', text)}", flush=True)
        seen.append(state)
        newest = name if state == WHOLE and name.startswith("checkpoints/") else newest
    if bad := seen.count(DAMAGED):
        raise UserError(f"{bad} of {bad + seen.count(WHOLE)} parts of {folder} are damaged; restore them from a copy. "
                        f"The newest whole checkpoint is {newest}")
    print(f"all {seen.count(WHOLE)} parts are whole")


def texts(folder):
    """(name, state, words) of everything but the checkpoints."""
    from lmlab import config as configs
    from lmlab import run

    def part(path, look):
        if not path.exists():
            return path.name, DAMAGED, "is missing; restore it from a copy"
        try:
            return path.name, WHOLE, look(path)
        except (UserError, OSError, KeyError) as error:
            return path.name, DAMAGED, str(error)

    def config(path):
        found = run.load_config(folder) if record[1] == WHOLE else configs.load(path)
        return f"{found.model.name}, {found.objective.name}, seed {found.seed}, {found.train.steps:,} steps"

    def sessions(path):
        found = run.read_sessions(folder)
        return f"{len(found)} session{'s' * (len(found) > 1)}, the newest on {found[-1]['devices']['count']} devices"

    def tokenizer(path):
        if record[1] == DAMAGED:
            raise UserError("cannot be checked without run.json")
        found = run.load_tokenizer(folder)
        return f"{found.kind}, {found.vocab_size:,} ids"

    def rows(path):
        found, damaged = check_rows(path)
        if damaged:
            raise UserError(f"{path} has {len(damaged)} damaged line(s), the first {damaged[0]}; a resume drops them")
        return f"{len(found):,} rows, up to step {max((row['step'] for row in found), default=0):,}"

    record = part(folder / "run.json", sessions)
    yield from (part(folder / "config.json", config), record, part(folder / "tokenizer", tokenizer))
    yield from (part(path, rows) for path in [folder / METRICS, *sorted(folder.glob("ledger*.jsonl"))])
    if (folder / "summary.json").exists():
        yield part(folder / "summary.json", lambda path: f"of step {sealed.read(path)['steps']:,}")


def checkpoints(saved, training):
    """(name, state, words) of each checkpoint, and of what was set aside."""
    from lmlab.train.checkpoint import MANIFEST, damage
    for path in sorted(saved.iterdir(), key=lambda p: (len(p.name), p.name)) if saved.is_dir() else ():
        name = f"checkpoints/{path.name}"
        size = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
        if not path.name.isdecimal():
            yield name, NOTED, "set aside" if ".corrupt" in path.name else "a save under way, or one that was cut off"
        elif not (path / MANIFEST).is_file():
            yield name, *((NOTED, "being saved") if training else
                          (DAMAGED, f"has no {MANIFEST}: its save was cut off; the next session sets it aside"))
        else:
            with tqdm(total=size, desc=name, unit="B", unit_scale=True, leave=False, disable=None) as bar:
                problem = damage(path, lambda file: bar.update(file.stat().st_size))
            if not problem or (path / MANIFEST).is_file():  # else the run that is training has just let go of it
                yield name, DAMAGED if problem else WHOLE, problem or f"{size / 1e6:,.1f} MB"


if __name__ == "__main__":
    cli.run(main)
