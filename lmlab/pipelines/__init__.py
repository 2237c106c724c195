"""Task calls: text in, dicts out, shaped as transformers v4 gave them."""

import sys

from lmlab import run
from lmlab.utils import modules


def pipeline(task, model):
    """A callable for a task: pipeline("text-generation", "runs/x")("text").

    Args:
      task: the name of a file here, with hyphens. model: a run folder, or what lmlab.load gave.
    Raises:
      UserError: for an unknown task.
    """
    module = modules.find(sys.modules[__name__], task, "make", f"there is no pipeline {task!r}", hyphens=True)
    return module.make(model if isinstance(model, run.LM) else run.load(model))
