"""Task calls: text in, dicts out, shaped as transformers v4 gave them."""

import importlib
import pkgutil

from lmlab import run
from lmlab.utils.errors import UserError, did_you_mean


def pipeline(task, model):
    """A callable for a task: pipeline("text-generation", "runs/x")("text").

    Args:
      task: the name of a file here, with hyphens. model: a run folder, or what lmlab.load gave.
    Raises:
      UserError: for an unknown task.
    """
    known = [m.name.replace("_", "-") for m in pkgutil.iter_modules(__path__)]
    if task not in known:
        raise UserError(f"there is no pipeline {task!r}{did_you_mean(task, known)}; there are: {', '.join(known)}")
    lm = model if isinstance(model, run.LM) else run.load(model)
    return importlib.import_module(f"{__name__}.{task.replace('-', '_')}").make(lm)
