"""What is timed, in processes of their own: ours (ours.py), and rivals in PyTorch that lmlab itself never imports.

Each takes a JSON object as its argument, prints one when it is ready, and waits: for a number of steps or tokens, a
line each, which it answers with {"seconds", "result"}. One not asked does nothing: they can be timed in turn.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lmlab.utils.errors import UserError

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "rivals" / "gpt.py"  # a checkout has it; a flag names another
PYTORCH = {"PyTorch": "eager", "PyTorch, compiled": "compiled", "transformers": "transformers"}


class Worker:
    """A process that waits for work, as a context.

    Attributes:
      facts: what it said when it was ready.
    """

    def __init__(self, what, command, arguments, **environment):
        """what: its name in errors. environment: variables to set, or to unset where the value is None."""
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]]), **environment}
        self._what, self._errors = what, tempfile.TemporaryFile("w+", errors="replace")
        self._process = subprocess.Popen(
            [sys.executable, *command, json.dumps(arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._errors, text=True, env={k: v for k, v in variables.items() if v is not None})
        self.facts = self._read()

    def ask(self, number) -> dict:
        """Has it do so many steps, or make so many tokens: {"seconds", "result"}."""
        try:
            self._process.stdin.write(f"{number}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the next line tells why
        return self._read()

    def peak(self) -> int:
        """The most memory that it has held so far, bytes."""
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
        except FileNotFoundError:
            raise UserError("peak memory is read from /proc, which this system does not have; use Linux") from None
        return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status)[1])

    def _read(self):
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        code = self._process.wait()
        self._errors.seek(0)
        lines = [line for line in self._errors.read().splitlines() if line.strip()] or ["it said nothing"]
        told = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)] or lines
        self.__exit__()
        raise UserError(f"{self._what} ended with code {code}: {told[-1][:300]}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()


def ours(arguments, **environment) -> Worker:
    """A process of ours; arguments as ours.py takes them, all but `began`."""
    # The suite's own process leaves the card to those it starts (experiments/bench.py); they take it as in a run.
    return Worker("lmlab", ["-m", "lmlab.bench.ours"], {"dtype": "float32", **arguments, "began": time.time()},
                  XLA_PYTHON_CLIENT_PREALLOCATE=None, XLA_PYTHON_CLIENT_MEM_FRACTION="0.9", **environment)


def rival(name, arguments, script="", malloc=None) -> Worker:
    """A rival of this name, one of `there`; arguments as the program takes them. malloc: its GLIBC_TUNABLES; none, as
    its users start it: those of this process are what run.sh sets for lmlab."""
    return Worker(name, [str(script or SCRIPT)], {"dtype": "float32", "device": "cpu", **arguments},
                  GLIBC_TUNABLES=malloc)


def verb(name, *arguments):
    """Runs a verb of lmlab to its end."""
    done = subprocess.run([sys.executable, "-m", f"experiments.{name}", *arguments], cwd=ROOT, capture_output=True,
                          text=True)
    if done.returncode:
        raise UserError(f"{name} {' '.join(arguments)} ended with code {done.returncode}: {done.stderr.strip()[-300:]}")


def there(options, wanted=tuple(PYTORCH)) -> list:
    """Those of `wanted` that can be started here; a line on stderr says what is missing for the others."""
    script = Path(options.rival or SCRIPT)
    if options.rival and not script.is_file():
        raise UserError(f"--rival={script}: no such file")
    has = lambda package: importlib.util.find_spec(package) is not None
    found = [name for name in wanted if script.is_file() and has("torch")
             and (name != "transformers" or has("transformers"))]
    if missing := [name for name in wanted if name not in found]:
        print(f"without {', '.join(missing)}: pip install torch and the extra parity (transformers) beside lmlab, and "
              f"have {script} (or name one by --rival)", file=sys.stderr)
    return found
