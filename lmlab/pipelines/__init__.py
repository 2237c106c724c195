"""Task calls: text in, dicts out, shaped as transformers v4 gave them."""

import re
import sys

from lmlab import run
from lmlab.utils import modules
from lmlab.utils.errors import UserError

ALIASES = {"sentiment-analysis": "text-classification", "ner": "token-classification"}


def pipeline(task, model):
    """A callable for a task: pipeline("text-generation", "runs/x")("text").

    Args:
      task: the name of a file here, with hyphens, or another that transformers has for it ("translation_en_to_de" too:
        the languages are those of the model). model: a run folder, or what lmlab.load gave; of text classification also
        a list of them, whose probabilities are averaged.
    Raises:
      UserError: for an unknown task; for a model that cannot do it, here or when the pipeline is called.
    """
    name = re.sub(r"translation_\w+_to_\w+", "translation", task) if isinstance(task, str) else task
    module = modules.find(sys.modules[__name__], name, "make", f"there is no pipeline {task!r}", hyphens=True,
                          aliases=ALIASES)
    several = isinstance(model, (list, tuple)) and len(model) > 0
    if several and not getattr(module, "ENSEMBLES", False):
        raise UserError(f"the pipeline {task!r} takes one model, and there are {len(model)}; several answer together "
                        "in text-classification")
    lms = [one if isinstance(one, (run.LM, run.Ensemble)) else run.load(one) for one in (model if several else [model])]
    return module.make(run.together(lms))
