"""Strict configs: every section is the keyword arguments of one function (an objective's: of two), whose signature is
the schema.

A config is an `ml_collections.ConfigDict` of sections (data, tokenizer, model, ...). `complete` fills a section with
the function's defaults, so that every field can be set by a flag; `check` refuses a key that the function does not
take, and a value of another type, by name. Nothing here touches a device.
"""

import inspect
from pathlib import Path

from ml_collections import ConfigDict

from lmlab.utils import sealed
from lmlab.utils.errors import UserError, did_you_mean

# What a resumed run may change: how long, how it is watched, saved and laid out on devices. All else would make
# another experiment under the same name.
MAY_CHANGE = ("train.steps", "train.log_every", "train.save_every", "train.keep", "train.keep_every", "train.parallel",
              "train.max_skips", "train.watchdog", "train.damaged_rows", "train.ledger", "data.damaged", "evals.",
              "mesh.", "model.unroll", "model.remat", "model.attention")

NAMED = ("model", "objective")  # the sections whose `name` says which function takes the rest
PLAIN = {"seed": 0, "init_from": ""}  # fields that stand in no section, and their defaults


def parse_arg(arg, presets):
    """Splits a config argument "preset,section.key=value,..." into (preset, {"section.key": "value"}).

    Raises:
      UserError: where the first word is no preset, or a later one is no assignment.
    """
    preset, *words = (arg or next(iter(presets))).split(",")
    if preset not in presets:
        raise UserError(f"config argument {preset!r} is no preset{did_you_mean(preset, presets)}; "
                        f"one of {', '.join(presets)}")
    for word in words:
        if "=" not in word:
            raise UserError(f"config argument {word!r} is no assignment; write it as section.key=value")
    return preset, dict(word.split("=", 1) for word in words)


def defaults(*functions) -> dict:
    """The keyword arguments that a config may set: name -> default, from the signatures (a dataclass's fields too).

    Only plain values count (bool, int, float, str): what has no default, or a default of another kind, is handed in by
    the program and not by a config.
    """
    return {p.name: p.default for function in functions for p in inspect.signature(function).parameters.values()
            if isinstance(p.default, (bool, int, float, str))}


def taken(function, section) -> dict:
    """What of a section a function takes."""
    return {name: section[name] for name in defaults(function) if name in section}


def complete(config: ConfigDict, sections: dict) -> ConfigDict:
    """Adds to each section what its function's defaults say and the config does not; returns the config, locked.

    Args:
      config: what the experiment sets. sections: name -> the functions that take the section.
    """
    check(config, sections)
    for name, functions in sections.items():
        filled = {**defaults(*functions), **config.get(name, {})}
        config[name] = ConfigDict(filled)
    return config.lock()


def check(config: ConfigDict, sections: dict):
    """Raises a UserError for the first section, key or type that no function takes."""
    for name in config:
        if name not in sections and name not in PLAIN:
            raise UserError(f"config.{name} is no section{did_you_mean(name, [*sections, *PLAIN])}")
    if not isinstance(start := config.get("init_from", ""), str):
        raise UserError(f"config.init_from={start!r} must be a text: a run folder, or a model from elsewhere")
    seed = config.get("seed", 0)
    if not _fits(seed, 0) or not 0 <= seed < 2 ** 32:
        raise UserError(f"config.seed={seed!r} must be a whole number from 0 to {2 ** 32 - 1}")
    for name, functions in sections.items():
        known = defaults(*functions)
        if name in NAMED:
            known["name"] = ""
        section = config.get(name, {})
        if not isinstance(section, (dict, ConfigDict)):
            raise UserError(f"config.{name}={section!r} must be a section: a dict of {', '.join(known)}")
        for key, value in section.items():
            if key not in known:
                raise UserError(f"config.{name}.{key} does not exist{did_you_mean(key, known)}")
            if not _fits(value, known[key]):
                raise UserError(f"config.{name}.{key}={value!r} must be of type {type(known[key]).__name__}")


def _fits(value, default):
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    return isinstance(value, (int, float) if isinstance(default, float) else type(default))


def override(config: ConfigDict, assignments: dict) -> ConfigDict:
    """Sets {"section.key": "text"} in a completed config, each text read as the type of the field it replaces."""
    for path, text in assignments.items():
        section, _, key = path.rpartition(".")
        known = flat(config)
        if path not in known:
            raise UserError(f"config.{path} does not exist{did_you_mean(path, known)}")
        with config.unlocked():
            (config[section] if section else config)[key] = parse_value(path, text, known[path])
    return config


def parse_value(path, text, like):
    """Reads `text` as a value of the type of `like`; a UserError names the field where it is none."""
    try:
        if isinstance(like, bool):
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        return type(like)(text)
    except (KeyError, ValueError):
        raise UserError(f"config.{path}={text!r} must be of type {type(like).__name__}") from None


def flat(config) -> dict:
    """{"section.key": value} of a ConfigDict or nested dict."""
    out = {}
    for key, value in config.items():
        if isinstance(value, (dict, ConfigDict)):
            out.update({f"{key}.{k}": v for k, v in flat(value).items()})
        else:
            out[key] = value
    return out


def save(config: ConfigDict, path: Path):
    """Writes the resolved config as JSON, atomically and with its digest."""
    sealed.write(path, config.to_dict())


def load(path: Path) -> ConfigDict:
    """Reads a config that `save` wrote; a UserError where the file is missing or is not as it was written."""
    folder = Path(path).parent
    try:
        plain = sealed.read(path)
    except (FileNotFoundError, NotADirectoryError):
        runs = [p.parent.name for p in folder.parent.glob("*/config.json")]
        raise UserError(f"{path} is missing: {folder} is no run folder{did_you_mean(folder.name, runs)}") from None
    try:
        return ConfigDict(plain).lock()
    except (ValueError, TypeError, AttributeError, RecursionError) as error:  # a key that no config can have
        raise UserError(f"{path} is damaged: {error}; restore it from a copy") from None


def diff(old, new) -> dict:
    """{"section.key": (old value, new value)} where two configs differ; None for a missing one."""
    old, new = flat(old), flat(new)
    return {k: (old.get(k), new.get(k)) for k in sorted(old | new) if old.get(k) != new.get(k)}


def another(old, new) -> list[str]:
    """The fields that make `new` another experiment than `old`, none of which may change on a resume."""
    return [name for name in diff(old, new) if not name.startswith(MAY_CHANGE)]


def check_resume(old, new, folder) -> list[str]:
    """What a resume changes, a line a field. Raises a UserError for the fields that cannot change."""
    changed = diff(old, new)
    word = lambda k: f"config.{k}: {changed[k][0]!r} in the run, {changed[k][1]!r} now"
    fixed = another(old, new)
    if fixed:
        raise UserError(f"{folder} was started with another config, and these cannot change on a resume: "
                        f"{'; '.join(map(word, fixed))}. Use a new --workdir, or the old value")
    return [word(k) for k in changed]
