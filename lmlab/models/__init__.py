"""Networks: pure `init` and `apply`, built from keyword arguments.

A model is found by the name of its file: `lmlab.models.NAME` holds `Spec`, a frozen dataclass of its keyword
arguments, and `Model`, the `flax.linen` module that takes one.
"""

import sys

from lmlab.utils import modules


def find(name):
    """Returns the module `lmlab.models.NAME`; a UserError names the nearest model where there is none."""
    return modules.find(sys.modules[__name__], name, "Model", f"config.model.name={name!r} is no model")


def build(name, **kwargs):
    """Builds the model `name` from its keyword arguments (the fields of its Spec)."""
    module = find(name)
    return module.Model(module.Spec(**kwargs))
