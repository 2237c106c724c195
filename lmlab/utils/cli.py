"""The command line of every verb: absl flags in, one clear line for a mistake, a code for the shell."""

import os
import re
import sys
import traceback

from absl import app, flags, logging

from lmlab.utils.errors import UserError, did_you_mean


def run(main):
    """Runs `main()` as an absl program. A UserError prints one line and exits 1, Ctrl-C exits 130."""
    # Quiet start: absl and orbax announce every step at level INFO, which would drown the progress bar.
    logging.set_verbosity(logging.WARNING)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    try:
        app.run(lambda _: main(), flags_parser=_parse)
    except UserError as error:
        _fail(error)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)


def _fail(error):
    if os.environ.get("LMLAB_TRACEBACK"):
        traceback.print_exception(error)
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(1)


def _parse(argv):
    """Parses flags; whatever a flag or config file complains of becomes one line."""
    try:
        rest = flags.FLAGS(argv)
    except flags.UnrecognizedFlagError as error:
        raise UserError(f"--{error.flagname} is no flag{did_you_mean(error.flagname, flags.FLAGS)}") from error
    except UserError:
        raise
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(_explain(argv, error)) from error
    if len(rest) > 1:
        raise UserError(f"{rest[1]!r} is no flag; flags are written --name=value")
    return rest


def _explain(argv, error):
    """Names the --config override that an ml_collections error is about, with the nearest field."""
    if isinstance(error, flags.IllegalFlagValueError):
        match = re.match(r"flag -*([^=\s]+)=(\S*): (.*)", str(error), re.S)
        if match:
            return f"{match[1]}={match[2]} is not accepted: {match[3]}"
    overrides = [a.lstrip("-").split("=")[0] for a in argv if re.match(r"--?config\.", a)]
    known = _fields()
    for name in overrides:
        if known and name not in known:
            return f"{name} does not exist{did_you_mean(name, known)}"
    return str(error) or type(error).__name__


def _fields():
    """Every config.section.key of the config file on the command line; empty where it did not load."""
    from ml_collections import config_flags
    try:
        spec = next(a.split("=", 1)[1] for a in sys.argv if re.match(r"--?config=", a))
        config = config_flags.config_flags.ConfigFileFlagParser("config").parse(spec)
    except (StopIteration, OSError, ValueError, AttributeError, KeyError, TypeError):
        return []
    return [f"config.{s}.{k}" if k else f"config.{s}" for s in config
            for k in (config[s] if hasattr(config[s], "keys") else [""])]
