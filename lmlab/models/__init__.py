"""Networks: pure `init` and `apply`, built from keyword arguments.

A model is found by the name of its file: `lmlab.models.NAME` holds `Spec`, a frozen dataclass of its keyword
arguments, and `Model`, the `flax.linen` module that takes one.
"""

import importlib
import pkgutil

from lmlab.utils.errors import UserError, did_you_mean


def find(name):
    """Returns the module `lmlab.models.NAME`; a UserError names the nearest model where there is none."""
    known = [m.name for m in pkgutil.iter_modules(__path__)
             if hasattr(importlib.import_module(f"{__name__}.{m.name}"), "Spec")]
    if name not in known:
        raise UserError(f"config.model.name={name!r} is no model{did_you_mean(name, known)}")
    return importlib.import_module(f"{__name__}.{name}")


def build(name, **kwargs):
    """Builds the model `name` from its keyword arguments (the fields of its Spec)."""
    module = find(name)
    return module.Model(module.Spec(**kwargs))
