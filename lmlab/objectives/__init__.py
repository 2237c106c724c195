"""Objectives: pure functions (apply, params, batch, keys_B) -> ({term: (sum, weight)}, {metric: (sum, weight)}).

An objective is found by the name of its file; its `loss` takes its settings as keyword arguments. The training loss is
the sum over terms of sum / weight, the sums and weights running over the whole batch, however it is cut up.
"""

import functools
import importlib
import pkgutil

from lmlab.utils.errors import UserError, did_you_mean


def find(name):
    """Returns the module `lmlab.objectives.NAME`; a UserError names the nearest where there is none."""
    known = [m.name for m in pkgutil.iter_modules(__path__)
             if hasattr(importlib.import_module(f"{__name__}.{m.name}"), "loss")]
    if name not in known:
        raise UserError(f"config.objective.name={name!r} is no objective{did_you_mean(name, known)}")
    return importlib.import_module(f"{__name__}.{name}")


def build(name, **kwargs):
    """The objective `name` with its settings bound: (apply, params, batch, keys_B) -> (terms, metrics)."""
    return functools.partial(find(name).loss, **kwargs)
