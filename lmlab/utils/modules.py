"""Modules found by the name of their file: no registry to keep."""

import importlib
import pkgutil

from lmlab.utils.errors import UserError, did_you_mean


def find(package, name, has, what, hyphens=False, aliases=None):
    """The module `package.name` that defines `has`.

    Args:
      package: a package module. name: of a file in it. has: what such a file must define. what: for the error, as
        "config.model.name=... is no model". hyphens: names are spelt with - where the files have _. aliases: {other
        name: name}.
    Raises:
      UserError: where there is none; it names the nearest.
    """
    spell = lambda file: file.replace("_", "-") if hyphens else file
    modules = {spell(m.name): importlib.import_module(f"{package.__name__}.{m.name}")
               for m in pkgutil.iter_modules(package.__path__)}
    known, aliases = [n for n, module in modules.items() if hasattr(module, has)], aliases or {}
    known += [alias for alias, n in aliases.items() if n in known]
    if name not in known:
        raise UserError(f"{what}{did_you_mean(name, known)}; there are: {', '.join(known)}")
    return modules[aliases.get(name, name)]
