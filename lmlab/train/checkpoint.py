"""Checkpoints: Orbax writes them, asynchronously and atomically; a sha256 manifest beside the data tells a whole one.

Orbax commits a step atomically but restores flipped bits without a word. So a step counts only with its manifest,
which is written after Orbax's commit, and every file is checked against it before anything is restored. Older steps
are let go of only then.
"""

import contextlib
import errno
import json
import logging
import math
import os
import re
import shutil
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from lmlab.utils.errors import UserError
from lmlab.utils.files import read_bytes, sha256_file, sync_tree, write_text

MANIFEST = "manifest.json"
SCORE = "score"
GONE = ".gone"  # a step on its way out
LEFT_OVER = re.compile(rf"\d+(\.orbax-checkpoint-tmp.*|{re.escape(GONE)}.*)")
REMEDIES = {errno.ENOSPC: "free some space there", errno.EDQUOT: "free some space there",
            errno.EFBIG: "raise the limit of file sizes (ulimit -f)", errno.EACCES: "make the folder writable"}

# Orbax prints the stack of an error that it then raises as well. The writes of a save that has failed go on for a
# while, and tensorstore then finds nobody to tell.
logging.getLogger("absl").addFilter(lambda r: r.levelno < logging.ERROR or "orbax" not in r.pathname)


def _unraisable(event, before=sys.unraisablehook):
    if str(event.exc_value) != "Event loop is closed":
        before(event)


sys.unraisablehook = _unraisable


class Checkpoints:
    """The checkpoints of one run, in `folder`/STEP/: params apart from the rest, so that loading reads only them.

    keep: the newest so many stay; keep_every: so does every step that is a multiple (0: none); the best by `score`
    (the lowest) always stays.
    """

    def __init__(self, folder, *, keep=3, keep_every=0):
        _refuse_brackets(folder)
        self.folder = Path(folder).absolute()
        self._keep, self._keep_every = keep, keep_every
        # Orbax would let go of old steps before the new one has its manifest: it is to keep all of them.
        self._manager = ocp.CheckpointManager(self.folder)
        self._thread = ThreadPoolExecutor(1, "lmlab-manifest")
        self._pending = None

    def save(self, step, state, score=None):
        """Begins to save `state` as `step`; raises what the save before it met. A step that is there is left alone.

        Raises:
          UserError: where the state cannot be written; where that fails in the background, a later call does.
        """
        self.wait()
        if step in good_steps(self.folder):
            return
        # The thread that seals is woken first: among Orbax's, the loop would wait its turn for each lock.
        begun = Future()
        sealing = self._thread.submit(self._seal, step, score, begun)
        try:
            with _explained(self.folder, step):
                if not self._manager.save(step, args=save_args(state), force=True):
                    raise OSError(f"Orbax does not save step {step}")
        except BaseException:
            begun.cancel()
            raise
        begun.set_result(None)
        self._pending = sealing

    def _seal(self, step, score, begun):
        begun.result()
        with _explained(self.folder, step):
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
            if jax.process_index() == 0:
                self._finish(self.folder / str(step), score)
        if jax.process_index() == 0:
            self._let_go()

    def _finish(self, step_folder, score):
        try:
            if score is not None:
                write_text(step_folder / SCORE, f"{float(score)}\n")
            write_manifest(step_folder)
        except OSError:  # it will never count: the room it takes may be what is missing
            with contextlib.suppress(OSError):
                _remove(step_folder)
            raise

    def _let_go(self):
        """Removes the steps that are neither new, nor the best, nor a multiple of keep_every."""
        steps = good_steps(self.folder)
        stay = {*steps[-self._keep:], *(n for n in steps if self._keep_every and n % self._keep_every == 0),
                best(self.folder)}
        for n in set(steps) - stay:
            _remove(self.folder / str(n))

    def wait(self):
        """Waits for the save under way; raises its error."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def poll(self):
        """Raises the error of a save that has failed by now; waits for nothing."""
        if self._pending is not None and self._pending.done():
            self.wait()

    def close(self):
        """Waits for the save under way and ends the threads; raises its error."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()
            with contextlib.suppress(Exception):  # of a failed save, which has been told already
                self._manager.close()


def _remove(step_folder):
    """Renames a step first, so that no half of one ever looks whole."""
    gone = _unused(step_folder.with_name(step_folder.name + GONE))
    os.rename(step_folder, gone)
    shutil.rmtree(gone)


def _score(step_folder):
    """The score a step was saved with; None where it has none."""
    try:
        score = float(read_bytes(step_folder / SCORE))
    except (OSError, ValueError):
        return None
    return score if math.isfinite(score) else None


@contextlib.contextmanager
def _explained(folder, step):
    """Whatever Orbax or the disk raises becomes one line."""
    try:
        yield
    except Exception as error:
        number, reason = _reason(error)
        raise UserError(f"checkpoint {step} in {folder} could not be saved: {reason}; "
                        f"{REMEDIES.get(number, 'mend that')}. {_go_on(folder)}") from error


def _reason(error):
    """(errno or None, its words or the error's first line). Tensorstore gives the number in its text."""
    found = re.search(r"os_error_code='(\d+)'", str(error))
    number = error.errno if isinstance(error, OSError) else int(found[1]) if found else None
    return number, os.strerror(number) if number else f"{str(error).strip() or repr(error)}".split("\n")[0][:300]


def _go_on(folder):
    steps = good_steps(folder)
    return "The same command " + (f"goes on from step {steps[-1]}" if steps else "begins anew")


def _refuse_brackets(folder):
    # Orbax reads its own folder's name as a glob pattern: with a [ in it, it commits a checkpoint without any data.
    if "[" in str(Path(folder).absolute()):
        raise UserError(f"{folder}: no checkpoint can be saved under a path with a [ in it; use another --workdir")


def save_args(state):
    """A state as Orbax saves it: the parameters, and the rest."""
    if jax.process_count() > 1:  # pmap's copies belong to a process; Orbax writes those of process 0 if they are numpy
        state = jax.tree.map(lambda x: np.asarray(x) if getattr(x, "is_fully_addressable", True) else x, state)
    rest = {k: v for k, v in state.items() if k != "params"}
    return ocp.args.Composite(params=ocp.args.StandardSave(state["params"]), rest=ocp.args.StandardSave(rest))


def write_manifest(step_folder):
    """Writes the sha256 of every file of a committed step beside them, atomically, once all of them are on the disk."""
    files = {str(path.relative_to(step_folder)): sha256_file(path) for path in _files(step_folder)}
    sync_tree(step_folder)
    write_text(step_folder / MANIFEST, json.dumps(files, indent=1, sort_keys=True) + "\n")


def _files(step_folder):
    """All but folders: a pipe among them is for `damage` to tell of, and not for Orbax to wait for."""
    return sorted(p for p in Path(step_folder).rglob("*") if not p.is_dir() and p.name != MANIFEST)


def damage(step_folder, seen=lambda path: None) -> str | None:
    """What is wrong with a step, naming the first file that is missing or changed; None where it is whole.

    seen: is told of each file that has been read.
    """
    manifest = Path(step_folder) / MANIFEST
    try:
        expected = json.loads(read_bytes(manifest))
        pairs = sorted(expected.items())
    except (OSError, ValueError, AttributeError, RecursionError):
        return f"{manifest} is missing or unreadable"
    for name, digest in pairs:
        path = Path(step_folder) / name
        try:
            if not path.is_file():  # nor a pipe or a device, which might never end
                return f"{path} is missing"
            if sha256_file(path) != digest:
                return f"{path} is not as it was saved"
        except OSError as error:
            return f"{path} cannot be read ({error.strerror})"
        seen(path)
    # But hidden ones: desktops and network disks leave them anywhere.
    extra = {str(p.relative_to(step_folder)) for p in _files(step_folder) if p.name[0] != "."} - set(expected)
    return f"{Path(step_folder) / min(extra)} was added after the save" if extra else None


def _steps(folder):
    names = os.listdir(folder) if Path(folder).is_dir() else []
    return sorted(int(n) for n in names if n.isdecimal() and n == str(int(n)))


def good_steps(folder) -> list[int]:
    """The steps in `folder` that have a manifest, oldest first. Their content is not checked yet."""
    return [n for n in _steps(folder) if (Path(folder) / str(n) / MANIFEST).is_file()]


def newest(folder, *, repair=False, log=print) -> int | None:
    """The newest whole step, None where nothing was saved; a damaged newer one is named to `log`.

    repair: whether to rename damaged steps, and those whose save was cut off, to STEP.corrupt, so that their numbers
    are free again, and to remove what saves and removals that were cut off have left. Only the run itself may: to
    anyone else, a step without a manifest may be one just being saved.

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
    else:
        if len(bad) < len(good):  # as it has of one: there are others now
            return newest(folder, repair=repair, log=log)
    unsealed = [n for n in _steps(folder) if n not in good]
    if len(bad) == len(good) and (bad or len(unsealed) > 1):  # a session cuts off one save, and the next one renames it
        problem = bad[0][1] if bad else damage(folder / str(unsealed[-1]))
        raise UserError(f"no checkpoint in {folder} is whole: {problem}. Restore the file from a copy, or train "
                        "again in a new --workdir")
    for number, problem in bad:
        log(f"checkpoint {number} is damaged: {problem}; going on from step {step}")
    for number in unsealed:
        if repair:
            log(f"the save of checkpoint {number} was cut off; renamed {number}.corrupt")
        elif number > (step or 0):
            log(f"checkpoint {number} has no manifest: it is being saved, or its save was cut off")
    for number in [*unsealed, *(n for n, _ in bad)] if repair else []:
        os.replace(folder / str(number), _unused(folder / f"{number}.corrupt"))
    for left in os.listdir(folder) if repair and folder.is_dir() else []:
        if LEFT_OVER.fullmatch(left):
            shutil.rmtree(folder / left)
    return step


def _unused(path):
    """`path`, or path.1, path.2, ... where it is taken."""
    return next(p for p in [path, *(path.with_name(f"{path.name}.{i}") for i in range(1, 1000))] if not p.exists())


def best(folder) -> int | None:
    """The step whose score was the best; None where none has one. Its content is not checked yet."""
    scores = {n: score for n in good_steps(folder) if (score := _score(Path(folder) / str(n))) is not None}
    return min(scores, key=lambda n: (scores[n], -n), default=None)


def whole(folder, step):
    """`step` if it is there and whole; a UserError names what is wrong with it, or the steps there are."""
    steps = good_steps(folder)
    if step not in steps:
        raise UserError(f"{folder} has no checkpoint of step {step}; there are {steps or 'none'}")
    problem = damage(Path(folder) / str(step))
    if problem:
        raise UserError(f"checkpoint {step} is damaged: {problem}")
    return step


@contextlib.contextmanager
def _reader(folder, step):
    """Orbax's reader of a step; what it raises becomes one line."""
    handlers = {item: ocp.StandardCheckpointHandler() for item in ("params", "rest")}
    try:
        with ocp.CheckpointManager(Path(folder).absolute(), item_handlers=handlers,
                                   options=ocp.CheckpointManagerOptions(create=False)) as reader:
            yield reader
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"checkpoint {step} in {folder} cannot be read: {_reason(error)[1]}") from error


def _described(tree):
    """{path: dtype and shape}"""
    return {jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype} {leaf.shape}"
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def restore(folder, step, target):
    """The whole state of `step`, laid out as `target` (ShapeDtypeStructs with shardings), whatever mesh it had.

    Raises:
      UserError: where the step holds other arrays than the target, or cannot be read. Orbax would cast them.
    """
    rest = {k: v for k, v in target.items() if k != "params"}
    with _reader(folder, step) as reader:
        saved = reader.item_metadata(step)
        here, there = _described(target), _described({"params": saved["params"].tree, **saved["rest"].tree})
        wrong = sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
        if wrong:
            raise UserError(f"checkpoint {step} in {folder} is of another model, optimizer or version: {wrong[0]} is "
                            f"{there.get(wrong[0], 'missing')} there, {here.get(wrong[0], 'missing')} here "
                            f"({len(wrong)} such). Use the config it was saved with, or another --workdir")
        read = reader.restore(step, args=ocp.args.Composite(params=ocp.args.StandardRestore(target["params"]),
                                                            rest=ocp.args.StandardRestore(rest)))
    return {"params": read["params"], **read["rest"]}


def restore_params(folder, step):
    """The parameters of `step` as numpy arrays, on any machine. A UserError where they cannot be read."""
    with _reader(folder, step) as reader:
        saved = reader.item_metadata(step)["params"].tree
        target = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), saved)
        return reader.restore(step, args=ocp.args.Composite(params=ocp.args.StandardRestore(target)))["params"]
