"""One tiny run on any layout of devices: what a layout saves, and what another one makes of it.

    python tests/faults/elastic.py FOLDER LAYOUT,... SAVED,...

as a process of several (see lmlab/utils/processes.py): saves by each LAYOUT of MESHES, reads what is SAVED in FOLDER,
and writes what was found to FOLDER/found.json.
"""

import dataclasses
import hashlib
import sys
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from lmlab import run
from lmlab.train import checkpoint, loop, optimizer, sharding, step
from lmlab.utils import processes
from lmlab.utils.files import write_json
from lmlab.utils.trees import by_path

SAVED = 2  # the step that every layout saves
MESHES = {  # name: (train.parallel, mesh, devices)
    "8": ("jit", {}, 8), "4": ("jit", {}, 4), "2x2": ("jit", dict(data=1, fsdp=2, tensor=2), 4), "1": ("jit", {}, 1),
    "fsdp": ("jit", dict(data=2, fsdp=4), 8), "tensor": ("jit", dict(data=4, tensor=2), 8),
    "tensor8": ("jit", dict(data=1, tensor=8), 8), "context": ("jit", dict(data=1, context=8), 8),
    "pmap": ("pmap", {}, 8)}


@dataclasses.dataclass
class Layout:
    """A run as one layout of devices sees it."""
    strategy: step.Strategy
    batches: object

    def advance(self, state, i):
        """(state, loss) after batch i."""
        state, metrics = self.strategy.step(state, self.strategy.put(self.batches[i]))
        return state, float(metrics["loss"])

    def digest(self, state):
        """SHA-256 of every array of a state, whole, in the order of their names."""
        ours = lambda x: getattr(x, "is_fully_addressable", True)  # as numpy is
        whole = lambda x: np.asarray(x if ours(x) else multihost_utils.process_allgather(x, tiled=True))
        arrays = by_path(jax.tree.map(whole, self.strategy.collect(state)))
        return hashlib.sha256(b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays))).hexdigest()

    def save(self, folder):
        """Saves SAVED steps of a new run in `folder`; {"digest", "loss" of the step after}."""
        state = self.strategy.init()
        for i in range(SAVED):
            state, _ = self.advance(state, i)
        checkpoints = checkpoint.Checkpoints(folder)
        checkpoints.save(SAVED, self.strategy.collect(state))
        checkpoints.close()
        digest = self.digest(state)
        return {"digest": digest, "loss": self.advance(state, SAVED)[1]}

    def read(self, folder):
        """What `save` of any layout told, told by what is in `folder`."""
        state = self.strategy.place(checkpoint.restore(folder, SAVED, self.strategy.target))
        digest = self.digest(state)
        return {"digest": digest, "loss": self.advance(state, SAVED)[1]}


def layout(name, text):
    """The layout of MESHES of that name, for the text file `text`."""
    parallel, mesh, count = MESHES[name]
    config = run.complete(dict(
        seed=3, data=dict(path=str(text)), tokenizer=dict(name="bytes"),
        model=dict(name="transformer", context=16, width=16, layers=2, heads=8, dropout=0.1, positions="rotary"),
        objective=dict(name="causal"), optimizer=dict(warmup=1),
        train=dict(steps=10, batch=16, accumulation=2, windows="packed")), {})
    settings = loop.Settings(**config.train)
    data = run.prepare(config)
    model = run.build_model(config, data.tokenizer.vocab_size)
    strategy = step.make_strategy(
        parallel, model, run.initialiser(config, model), run.build_objective(config, data.tokenizer.vocab_size),
        *optimizer.build(steps=settings.steps, **config.optimizer),
        sharding.make_mesh(**mesh, devices=jax.devices()[:count]), seed=config.seed, accumulation=settings.accumulation)
    return Layout(strategy, run.train_batches(config, data, *strategy.part))


def main():
    """What this process and its like save, and what they read."""
    processes.join()
    folder, names = Path(sys.argv[1]), sys.argv[2].split(",")
    told = {"saved": {}, "read": {}}
    for name in names:
        here = layout(name, folder / "text.txt")
        told["saved"][f"{name} of 2"] = here.save(folder / f"{name} of 2")
        for other in sys.argv[3].split(","):
            told["read"][f"{other} -> {name} of 2"] = here.read(folder / other)
    if jax.process_index() == 0:
        write_json(folder / "found.json", told)


if __name__ == "__main__":
    main()
