"""Ours in a process of its own, which does what it is told as the rivals do (see rivals.py): trains, makes the bare
matrix products of a training step, or generates.

    python -m lmlab.bench.ours '{"way": "train", "layers": 4, "width": 128, "heads": 4, "context": 64, "batch": 12,
                                 "vocab_size": 65, "dtype": "float32", "began": 1763800000.0}'
"""

import functools
import json
import os
import re
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from lmlab.bench import setting
from lmlab.decoding import cached
from lmlab.decoding.sampling import Sampler
from lmlab.models import flops, transformer
from lmlab.train import sharding, step
from lmlab.utils import environment
from lmlab.utils.trees import count

# The parts of a start, as jax tells how long each piece of work took.
_PARTS = {"/jax/core/compile/jaxpr_trace_duration": "tracing",
          "/jax/core/compile/jaxpr_to_mlir_module_duration": "tracing",
          "/jax/core/compile/backend_compile_duration": "compilation"}


def trainer(*, analyse=False, **size):
    """(steps -> the last loss, facts) of the step that the loop takes (step.make_strategy), on one device.

    facts: parameters; flops, of a step by the convention; device, as jax calls it; with `analyse` temporaries, the
    bytes that the compiled step needs beside its arguments, and whole, whether a buffer holds every logit at once.
    """
    model, *rest = setting.parts(**size)
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    strategy = step.make_strategy("jit", model, functools.partial(transformer.init, model), *rest, mesh, seed=0,
                                  accumulation=1)
    batch = setting.tokens(**size)
    device_batch, held, params = strategy.put(batch), [strategy.init()], strategy.target["params"]

    def steps(number):
        for _ in range(number):
            held[0], metrics = strategy.step(held[0], device_batch)
        return float(metrics["loss"])
    facts = {"parameters": count(params), "flops": flops.train_step(model.spec, params, *batch["tokens"].shape),
             "device": jax.devices()[0].device_kind}
    if analyse:
        compiled = strategy.lower(batch).compile()
        facts |= {"temporaries": compiled.memory_analysis().temp_size_in_bytes,
                  "whole": holds(compiled.as_text(), model.spec.vocab_size, batch["tokens"].size)}
    return steps, facts


def holds(text, vocab_size, tokens) -> bool:
    """Whether an array in the text of a compiled program has an axis of the vocabulary, and on the others at least so
    many entries. tokens: more than the model is wide, or its embedding is found."""
    shapes = ([int(n) for n in dims.split(",")] for dims in set(re.findall(r"\w\d+\[([\d,]+)\]", text)))
    return any(vocab_size in dims and np.prod(dims, dtype=float) >= vocab_size * tokens for dims in shapes)


def products(*, layers, width, batch, context, vocab_size=setting.VOCABULARY, dtype="float32", **_):
    """(steps -> 0.0, facts) of the matrix products of a training step and nothing else, each a jitted matmul of two
    matrices that lie as it wants them: of every projection the forward one, and those that give the gradients of its
    input and of its weights. Attention's own are left out. facts: flops, of a step."""
    rows = batch * context
    sizes = [(width, 3 * width, layers), (width, width, layers), (width, 4 * width, layers), (4 * width, width, layers),
             (width, vocab_size, 1)]
    calls = [shape for D, F, times in sizes for shape in [(rows, D, F), (rows, F, D), (D, rows, F)] * times]
    matrix = functools.cache(lambda *shape: jax.random.normal(jax.random.key(0), shape, jnp.dtype(dtype)))
    multiply = jax.jit(jnp.matmul)

    def steps(number):
        for n, k, m in calls * number:
            multiply(matrix(n, k), matrix(k, m)).block_until_ready()
        return 0.0
    return steps, {"flops": sum(2.0 * n * k * m for n, k, m in calls)}


def generator(*, prompt, **size):
    """(tokens -> the last of them, facts): the likeliest tokens after prompts of so many random ones, a row each."""
    model = setting.parts(**size)[0]
    params = nn.meta.unbox(jax.jit(functools.partial(transformer.init, model))(jax.random.key(0)))
    prompts = setting.tokens(**{**size, "context": prompt})["tokens"].tolist()

    def make(number):
        for tokens_B in cached.continuations(model, params, prompts, Sampler(temperature=0.0), count=number):
            pass
        return int(tokens_B[0])
    return make, {"parameters": count(params)}


def seconds_of(events) -> dict:
    """{part: seconds} of [(part, begin, end)], what lies within another of its part counted once."""
    found = dict.fromkeys(_PARTS.values(), 0.0)
    until = dict.fromkeys(found, 0.0)
    for part, begin, end in sorted(events, key=lambda event: event[1]):
        found[part] += max(0.0, end - max(begin, until[part]))
        until[part] = max(until[part], end)
    return found


def main():
    """Serves until the input ends. What it says first tells how the start went: imports (and the interpreter's own
    start), tracing, compilation, and all until the first step was done."""
    answers, events = os.fdopen(os.dup(1), "w", buffering=1), []
    os.dup2(2, 1)  # whatever else is printed
    arguments = json.loads(sys.argv[1])
    began, way, dtype = arguments.pop("began"), arguments.pop("way"), arguments.pop("dtype")
    imported = time.time() - began
    environment.set_up_jax()
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, seconds, **_: events.append((_PARTS[name], time.time() - seconds, time.time()))
        if name in _PARTS else None)
    act, facts = {"train": trainer, "products": products, "generate": generator}[way](
        **arguments, dtype=jnp.dtype(dtype))
    if way != "generate":
        act(1)
        facts["start"] = {"import": imported, **seconds_of(events), "all": time.time() - began}
        act(1)
    answers.write(json.dumps(facts) + "\n")
    for line in sys.stdin:
        start = time.perf_counter()
        result = act(int(line))
        answers.write(json.dumps({"seconds": time.perf_counter() - start, "result": result}) + "\n")


if __name__ == "__main__":
    main()
