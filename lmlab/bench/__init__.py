"""What things cost, measured: a file a suite, each with `measure(setting.Options) -> [timing.Comparison or Race]`."""

import pkgutil
import sys

from lmlab.utils import modules

_HELPERS = ("ours", "picture", "rivals", "setting")


def names() -> list[str]:
    """The suites there are."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in _HELPERS)


def find(name):
    """The suite of that name; a UserError names the nearest where there is none."""
    return modules.find(sys.modules[__name__], name, "measure", f"--suite={name} is none")
