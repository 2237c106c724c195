"""The command line of every verb: absl flags in, one clear line for a mistake, a code for the shell."""

import os
import re
import signal
import sys
import traceback
from pathlib import Path

from absl import app, flags, logging

from lmlab.utils import processes
from lmlab.utils.errors import UserError, did_you_mean, one_line
from lmlab.utils.process import Stopped


def run(main):
    """Runs `main()` as `_run` does; of several processes, one that fails does not wait for the others."""
    try:
        _run(main)
    except BaseException as end:
        if not (isinstance(end, SystemExit) and end.code is None):
            processes.leave(end)
        raise


def _run(main):
    """Runs `main()` as an absl program. A UserError or OSError prints one line and exits 1, Ctrl-C exits 130 (an
    orderly stop by SIGTERM, see StopSignals, 0)."""
    # Quiet start: absl and orbax announce every step at level INFO, which would drown the progress bar.
    logging.set_verbosity(logging.WARNING)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    try:
        app.run(lambda _: main(), flags_parser=_parse)
    except UserError as error:
        _fail(error, str(error))
    except BrokenPipeError:  # the reader of our output is gone, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # a full disk, a folder that may not be written
        where = f"{error.filename}: " if error.filename else ""
        _fail(error, f"{where}{error.strerror or error} (LMLAB_TRACEBACK=1 shows where in the code)")
    except KeyboardInterrupt as stop:
        print("stopped", file=sys.stderr)
        sys.exit(0 if isinstance(stop, Stopped) and stop.number == signal.SIGTERM else 130)


def _fail(error, text):
    if os.environ.get("LMLAB_TRACEBACK"):
        traceback.print_exception(error)
    print(f"error: {one_line(text)}", file=sys.stderr)
    sys.exit(1)


def _parse(argv):
    """Parses flags; whatever a flag or config file complains of becomes one line."""
    spec = _config(argv)
    if spec and not Path(spec.split(":")[0]).is_file():
        files = [str(p) for p in Path("configs").glob("*.py")]
        raise UserError(f"--config={spec}: no such file{did_you_mean(spec.split(':')[0], files)}")
    try:
        rest = flags.FLAGS(argv)
    except flags.UnrecognizedFlagError as error:
        raise UserError(f"--{error.flagname} is no flag{did_you_mean(error.flagname, flags.FLAGS)}; --help lists "
                        "them") from error
    except Exception as error:  # a config file is a program, and may raise anything
        raise UserError(_explain(argv, spec, error)) from error
    if len(rest) > 1:
        raise UserError(f"{rest[1]!r} is no flag; flags are written --name=value")
    return rest


def _config(argv):
    """The FILE:ARGUMENT of --config; "" in a program that has no such flag, or where help is asked for."""
    if "config" not in flags.FLAGS or any(re.match("--?help", word) for word in argv):
        return ""
    matches = [(re.fullmatch(r"--?config(?:=(.*))?", word, re.S), after) for word, after in zip(argv, [*argv[1:], ""])]
    found = [after if match[1] is None else match[1] for match, after in matches if match]
    if not found and any(re.match(r"--?from_run(=|$)", word) for word in argv):
        return ""  # a run brings its own
    if len(found) != 1 or not found[0]:
        raise UserError(f"--config= is {'given twice' if len(found) > 1 else 'missing'}: {flags.FLAGS['config'].help}")
    return found[0]


def _explain(argv, spec, error):
    """Names the flag, the --config override or the line of the config file that an error is about."""
    chain = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    ours = [e for e in chain if isinstance(e, UserError)]
    if ours:
        return str(ours[-1])
    match = re.match(r"flag -*([^=\s]+)=(.*?): (.*)", str(error), re.S)
    if isinstance(error, flags.IllegalFlagValueError) and match and match[1] != "config":
        name, value, why = match.groups()
        if value == "None" and "must have a value" in why:
            return f"--{name}= is missing: {flags.FLAGS[name].help}"
        kind = flags.FLAGS[name].flag_type() if name in flags.FLAGS else ""
        return f"--{name}={value} " + (f"must be of type {kind}" if kind else f"is not accepted: {why}")
    known = _fields(spec)
    for name in (word.lstrip("-").split("=")[0] for word in argv if re.match(r"--?config\.", word)):
        if known and name not in known:
            return f"{name} does not exist{did_you_mean(name, known)}"
    if isinstance(error, flags.Error) and not (match and match[1] == "config"):
        return str(error)
    lines = [f.lineno for f in traceback.extract_tb(chain[-1].__traceback__) if f.filename == str(spec).split(":")[0]]
    where = f"--config={spec}" + (f", line {lines[-1]}" if lines else "")
    return f"{where}: {type(chain[-1]).__name__}: {chain[-1]}"


def _fields(spec):
    """Every config.section.key of a config file; empty where it does not load."""
    from ml_collections import config_flags
    try:
        config = config_flags.config_flags.ConfigFileFlagParser("config").parse(spec)
        return [f"config.{s}.{k}" if k else f"config.{s}" for s in config
                for k in (config[s] if hasattr(config[s], "keys") else [""])]
    except Exception:  # it is what the message will be about
        return []
