"""Checkpoints: Orbax writes them, asynchronously and atomically; a sha256 manifest beside the data tells a whole one.

Orbax commits a step atomically but restores flipped bits without a word. So a step counts only with its manifest,
which is written after Orbax's commit, and every file is checked against it before anything is restored.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from lmlab.utils.errors import UserError
from lmlab.utils.files import sha256_file, write_text

MANIFEST = "manifest.json"


class Checkpoints:
    """The checkpoints of one run, in `folder`/STEP/: params apart from the rest, so that loading reads only them.

    keep: the newest so many stay; keep_every: so does every step that is a multiple (0: none); the best by `score`
    (the lowest) always stays.
    """

    def __init__(self, folder, *, keep=3, keep_every=0):
        _refuse_brackets(folder)
        self.folder = Path(folder).absolute()
        policies = [checkpoint_managers.LatestN(keep),
                    checkpoint_managers.BestN(get_metric_fn=lambda m: m["score"], reverse=True, n=1,
                                              keep_checkpoints_without_metrics=False)]
        policies += [checkpoint_managers.EveryNSteps(keep_every)] if keep_every else []
        self._manager = ocp.CheckpointManager(self.folder, options=ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies)))
        self._thread = ThreadPoolExecutor(1, "lmlab-manifest")
        self._pending = None

    def save(self, step, state, score=None):
        """Begins to save `state` as `step`; raises what the save before it met. A step that is there is left alone."""
        self.wait()
        if step in good_steps(self.folder):
            return
        self._manager.save(step, args=_save_args(state), metrics=None if score is None else {"score": float(score)},
                           force=True)
        self._pending = self._thread.submit(self._seal, step)

    def _seal(self, step):
        self._manager.wait_until_finished()
        self._manager.check_for_errors()
        if jax.process_index() == 0:
            write_manifest(self.folder / str(step))

    def wait(self):
        """Waits for the save under way; raises its error."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def close(self):
        """Waits for the save under way and ends the threads; raises its error."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()
            self._manager.close()


def _refuse_brackets(folder):
    # Orbax reads its own folder's name as a glob pattern: with a [ in it, it commits a checkpoint without any data.
    if "[" in str(Path(folder).absolute()):
        raise UserError(f"{folder}: no checkpoint can be saved under a path with a [ in it; use another --workdir")


def _save_args(state):
    rest = {k: v for k, v in state.items() if k != "params"}
    return ocp.args.Composite(params=ocp.args.StandardSave(state["params"]), rest=ocp.args.StandardSave(rest))


def write_manifest(step_folder):
    """Writes the sha256 of every file of a committed step beside them, atomically."""
    files = {str(path.relative_to(step_folder)): sha256_file(path) for path in _files(step_folder)}
    write_text(step_folder / MANIFEST, json.dumps(files, indent=1, sort_keys=True) + "\n")


def _files(step_folder):
    return sorted(p for p in Path(step_folder).rglob("*") if p.is_file() and p.name != MANIFEST)


def damage(step_folder) -> str | None:
    """What is wrong with a step, naming the first file that is missing or changed; None where it is whole."""
    manifest = Path(step_folder) / MANIFEST
    try:
        expected = json.loads(manifest.read_text())
        pairs = sorted(expected.items())
    except (OSError, ValueError, AttributeError):
        return f"{manifest} is missing or unreadable"
    for name, digest in pairs:
        path = Path(step_folder) / name
        try:
            if sha256_file(path) != digest:
                return f"{path} is not as it was saved"
        except OSError:
            return f"{path} is missing"
    extra = {str(p.relative_to(step_folder)) for p in _files(step_folder)} - set(expected)
    return f"{Path(step_folder) / min(extra)} was added after the save" if extra else None


def _steps(folder):
    names = os.listdir(folder) if Path(folder).is_dir() else []
    return sorted(int(n) for n in names if n.isdecimal())


def good_steps(folder) -> list[int]:
    """The steps in `folder` that have a manifest, oldest first. Their content is not checked yet."""
    return [n for n in _steps(folder) if (Path(folder) / str(n) / MANIFEST).is_file()]


def newest(folder, *, repair=False, log=print) -> int | None:
    """The newest whole step, None where nothing was saved; a damaged newer one is named to `log`.

    repair: whether to rename damaged steps, and those whose save was cut off, to STEP.corrupt, so that their numbers
    are free again. Only the run itself may: to anyone else, a step without a manifest may be one just being saved.

    Raises:
      UserError: where there are finished steps and none is whole. They are left as they are. With repair, also where
        the folder is one that nothing can be saved in.
    """
    if repair:
        _refuse_brackets(folder)
    folder = Path(folder)
    good = good_steps(folder)
    bad = []
    step = None
    for step in reversed(good):
        problem = damage(folder / str(step))
        if not problem:
            break
        if step in good_steps(folder):  # else the run that is going on has just let go of it
            bad.append((step, problem))
    if len(bad) == len(good) and bad:
        raise UserError(f"no checkpoint in {folder} is whole: {bad[0][1]}. Restore the file from a copy, or train "
                        "again in a new --workdir")
    for number, problem in bad:
        log(f"checkpoint {number} is damaged: {problem}; going on from step {step}")
    if repair:
        cut_off = [n for n in _steps(folder) if n not in good]
        for number in cut_off:
            log(f"the save of checkpoint {number} was cut off; renamed {number}.corrupt")
        for number in [*cut_off, *(n for n, _ in bad)]:
            os.replace(folder / str(number), _unused(folder / f"{number}.corrupt"))
    return step


def _unused(path):
    """`path`, or path.1, path.2, ... where it is taken."""
    return next(p for p in [path, *(path.with_name(f"{path.name}.{i}") for i in range(1, 1000))] if not p.exists())


def whole(folder, step):
    """`step` if it is there and whole; a UserError names what is wrong with it, or the steps there are."""
    steps = good_steps(folder)
    if step not in steps:
        raise UserError(f"{folder} has no checkpoint of step {step}; there are {steps or 'none'}")
    problem = damage(Path(folder) / str(step))
    if problem:
        raise UserError(f"checkpoint {step} is damaged: {problem}")
    return step


def _reader(folder):
    handlers = {item: ocp.StandardCheckpointHandler() for item in ("params", "rest")}
    return ocp.CheckpointManager(Path(folder).absolute(), item_handlers=handlers,
                                 options=ocp.CheckpointManagerOptions(create=False))


def restore(folder, step, target):
    """The whole state of `step`, laid out as `target` (ShapeDtypeStructs with shardings), whatever wrote it."""
    rest = {k: v for k, v in target.items() if k != "params"}
    with _reader(folder) as reader:
        read = reader.restore(step, args=ocp.args.Composite(params=ocp.args.StandardRestore(target["params"]),
                                                            rest=ocp.args.StandardRestore(rest)))
    return {"params": read["params"], **read["rest"]}


def restore_params(folder, step):
    """The parameters of `step` as numpy arrays, on any machine."""
    with _reader(folder) as reader:
        saved = reader.item_metadata(step)["params"].tree
        target = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), saved)
        return reader.restore(step, args=ocp.args.Composite(params=ocp.args.StandardRestore(target)))["params"]
