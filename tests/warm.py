"""A process that runs verbs in forks of itself, so that a test pays for the imports once: see `commands.py`.

Reads one JSON object a line ({"argv", "stdout", "stderr", "env"}), answers with the exit code.
"""

import importlib
import json
import os
import runpy
import signal
import sys
import traceback

HEAVY = ("jax", "flax.linen", "optax", "orbax.checkpoint", "grain", "ml_collections.config_flags", "matplotlib.pyplot",
         "sentencepiece", "tokenizers", "tensorboardX", "lmlab.run", "lmlab.eval.report", "lmlab.pipelines")


def verb(request):
    """Runs the verb in this process, which ends with it."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.update(request["env"])
    module, *sys.argv[1:] = request["argv"]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    runpy.run_module(f"experiments.{module}", run_name="__main__", alter_sys=True)


def main():
    """Serves until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    for name in HEAVY:
        importlib.import_module(name)
    answers.write("ready\n")
    for line in sys.stdin:
        child = os.fork()
        if not child:
            code = 0
            try:
                verb(json.loads(line))
            except SystemExit as end:
                code = end.code or 0
            except BaseException:
                traceback.print_exc()
                code = 1
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # to take all the modules down again would be most of the time
        answers.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")


if __name__ == "__main__":
    main()
