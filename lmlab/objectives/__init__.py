"""Objectives: pure functions (apply, params, batch, keys_B) -> ({term: (sum, weight)}, {metric: (sum, weight)}).

An objective is found by the name of its file; its `loss` takes its settings as keyword arguments. The training loss is
the sum over terms of sum / weight, the sums and weights running over the whole batch, however it is cut up.
"""

import functools
import sys

from lmlab.utils import modules


def find(name):
    """Returns the module `lmlab.objectives.NAME`; a UserError names the nearest where there is none."""
    return modules.find(sys.modules[__name__], name, "loss", f"config.objective.name={name!r} is no objective")


def build(name, **kwargs):
    """The objective `name` with its settings bound: (apply, params, batch, keys_B) -> (terms, metrics)."""
    return functools.partial(find(name).loss, **kwargs)
