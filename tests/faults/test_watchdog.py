"""A step, a batch or a save that hangs: the stacks are written and the process ends; the same command goes on."""

import subprocess
import sys
from pathlib import Path

import shim

HANGS = """
import sys, time
sys.path[:0] = {paths!r}
from pathlib import Path
import test_loop

class Slow(test_loop.Batches):
    def __getitem__(self, i):
        if i == {at} and "batch" == {what!r}:
            time.sleep(600)
        return super().__getitem__(i)

strategy = test_loop.toy(on_step=lambda i: time.sleep(600) if i == {at} and "step" == {what!r} else None)
test_loop.train(Path({folder!r}), strategy, batches=Slow(), save_every=1, watchdog=2.0)
"""


def test_a_batch_or_a_step_that_hangs(tmp_path, trials, tally):
    here, good = Path(__file__).parents[1], 0
    cases = [(what, at) for what in ("batch", "step") for at in range(trials(1, 4))]
    for what, at in cases:
        folder = tmp_path / f"{what}{at}"
        folder.mkdir()
        program = HANGS.format(paths=[str(here), str(here / "train")], what=what, at=at, folder=str(folder))
        done = subprocess.run([sys.executable, "-c", program], cwd=here.parent, capture_output=True, text=True,
                              timeout=120)
        place = f"the batch of step {at + 1}" if what == "batch" else f"step {at + 1}"
        stands = "__getitem__" if what == "batch" else "<lambda>"
        good += (done.returncode == 1 and f"error: nothing has moved for 2 s (config.train.watchdog) in {place}" in
                 done.stderr and stands in (folder / "stacks.txt").read_text())
    tally("a batch or a step that hangs", len(cases), good, "ended, the stacks written")
    assert good == len(cases), done.stderr


def test_a_save_that_hangs(tmp_path, tally):
    shim.uninterrupted()
    folder = tmp_path / "run"
    done = shim.Verb(*shim.flags(folder, **{"train.watchdog": 20.0}), SHIM_PART="/checkpoints/3", SHIM_AT=40,
                     SHIM_DO="hang").wait(120)
    assert done.code == 1 and "nothing has moved for 20 s (config.train.watchdog) in saving step" in done.err, done.err
    assert (folder / "stacks.txt").is_file() and shim.check_steps(folder) == [1, 2]
    assert shim.Verb(*shim.flags(folder)).wait().code == 0
    shim.check_end(folder)
    tally("a save that hangs", 1, 1, "ended; the same command goes on, bit for bit")
