"""Several processes that train one model: how they find one another, agree, and end together.

Each is started with the same command and JAX_COORDINATOR_ADDRESS=HOST:PORT (of process 0), JAX_NUM_PROCESSES and
JAX_PROCESS_ID in its environment; under Slurm or Open MPI the address is enough.
"""

import json
import os
import sys
import time
import traceback

from lmlab.utils.errors import UserError, one_line

SIGNS = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
HEARTBEAT = 30      # seconds without a sign of life after which a process counts as dead, and all others end
PATIENCE = 86_400   # seconds that the others are waited for: their data may take long, their death is noticed anyway
GRACE = 3           # seconds that process 0 lives on after its error, since the others are cut off with it
_MESSAGE = 4096     # bytes of what a process tells the others at once


def join():
    """Meets the other processes where the environment names them; touches no device.

    Raises:
      UserError: where the environment names them by halves.
    """
    address, *numbers = (os.environ.get(name) for name in SIGNS)
    if not address:
        if any(numbers):
            raise UserError(f"{SIGNS[1]} or {SIGNS[2]} is set and {SIGNS[0]} is not; set it to HOST:PORT of process 0")
        return
    import jax
    try:
        count, index = (None if number is None else int(number) for number in numbers)
        # JAX would take SIGTERM for itself, in the whole program: the loop has a use for it.
        jax.config.update("jax_enable_preemption_service", False)
        jax.distributed.initialize(address, count, index, heartbeat_timeout_seconds=HEARTBEAT,
                                   shutdown_timeout_seconds=PATIENCE)
    except (ValueError, TypeError, IndexError, RuntimeError) as error:
        raise UserError(f"{', '.join(f'{name}={os.environ.get(name)}' for name in SIGNS)}: {error}; set all three, "
                        "alike but for the id, which counts from 0") from error


def together(function, first=False):
    """What `function()` gives in each process (JSON values), in all of them, in their order.

    first: only process 0 calls it, and all get its answer.

    Raises:
      UserError: in every process, where the function raised one, or an OSError, in any.
    """
    import jax
    if not jax.distributed.is_initialized():
        return function() if first else [function()]
    from orbax.checkpoint import multihost
    result = problem = None
    if jax.process_index() == 0 or not first:
        try:
            result = function()
        except (UserError, OSError) as error:
            problem = one_line(str(error))[:600]
    # A barrier that waits as long as it must; to what connects devices the others may come half a minute late.
    together.count += 1
    multihost.get_barrier_sync_fn()(key=f"lmlab-{together.count}", timeout_ms=1000 * PATIENCE)
    told = _exchange({"result": result, "problem": problem})
    for number, message in enumerate(told):
        if message["problem"]:
            raise UserError(message["problem"] if number == 0 else f"process {number}: {message['problem']}")
    return told[0]["result"] if first else [message["result"] for message in told]


together.count = 0


def alike(function, digest):
    """What `function()` gives in this process; a UserError where `digest` (JSON) of it is not the same in all."""
    made = []

    def make():
        made.append(function())
        return digest(made[0])
    told = together(make)
    other = next((number for number, answer in enumerate(told) if answer != told[0]), None)
    if other is not None:
        raise UserError(f"process {other} has other text or another tokenizer than process 0 ({told[other]}, "
                        f"{told[0]}); give both the same files")
    return made[0]


def _exchange(message):
    """The message (JSON, up to _MESSAGE bytes) of each process."""
    import numpy as np
    from jax.experimental import multihost_utils
    text = json.dumps(message).encode().ljust(_MESSAGE)
    return [json.loads(bytes(row)) for row in multihost_utils.process_allgather(np.frombuffer(text, np.uint8))]


def leave(end):
    """Ends this process with the exception `end` at once where others might wait for it; otherwise returns.

    An orderly exit waits for all to come to their end, which they cannot without this one.
    """
    jax = sys.modules.get("jax")
    if jax and jax.distributed.is_initialized():
        code = end.code if isinstance(end, SystemExit) else 1
        if not isinstance(end, SystemExit):
            traceback.print_exception(end)
        sys.stdout.flush()
        sys.stderr.flush()
        if os.environ.get(SIGNS[2], "0") == "0":
            time.sleep(GRACE)
        os._exit(code)
