"""One step of training: objective -> gradients -> optimizer -> state, as jit over a mesh or as pmap.

The state is {"params", "opt_state", "step", "extra"} and nothing else decides what happens next: randomness at step i
is fold_in(key(seed), i), and every row of the batch has a key of its own, so that neither the mesh nor accumulation
changes a dropout mask. Parameters that an objective reads and that never change (a teacher's) are constants, arguments
of the step beside the state.
"""

import functools
from typing import Any, Callable, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from lmlab.models import fp8
from lmlab.train import guard, progress, sharding
from lmlab.utils import processes, trees
from lmlab.utils.errors import UserError, divisors
from lmlab.utils.trees import by_path, map_with_path


class Strategy(NamedTuple):
    """A way to run the step on several devices."""
    step: Callable        # (state, device batch) -> (state, metrics on device); the old state is donated
    init: Callable        # () -> state at step 0
    init_params: Callable # () -> one copy of its parameters
    put: Callable         # this process's rows of a batch (numpy) -> device batch
    place: Callable       # one copy of a state -> state
    collect: Callable     # state -> one copy of it, for evaluation and saving
    target: Any           # ShapeDtypeStructs of one copy, with shardings: what a checkpoint is restored into
    part: tuple = (0, 1)  # (i, n): this process's rows are the i-th of n equal parts of a batch
    lower: Any = None     # whole batch (shapes are enough) -> the step, lowered for devices that need not be there


def make_update(model, objective, optimizer, schedule, *, seed, accumulation=1, axis=None, trains=None):
    """The pure function (state, batch, gate) -> (state, metrics).

    Args:
      model: a network with `apply`. objective, optimizer, schedule: as their `build` functions give.
      trains: path of a parameter -> whether it trains; None: all do. The others have no gradient and no optimizer.
      seed: of dropout. accumulation: the pieces of the batch, computed one after the other and weighted by tokens, so
        that they add up to the whole batch. axis: the name of the pmap axis to sum over, if any.
    Args (of the function):
      state: may have "constants", keyword arguments of the objective, which the state after the step has not.
      gate: (metrics, apply) -> (parameters, optimizer's state, more metrics), apply() being the first two of the step;
        it may do otherwise (guard.guarded).
    Returns (of the function):
      metrics: each term (loss among them) and metric as a mean over its weights, total where there is more than one
        term, grad_norm, rate, tokens (read by the network, padding aside).
    """
    collect = functools.partial(jax.lax.psum, axis_name=axis) if axis else lambda tree: tree

    def measure(params, piece, constants):
        batch, keys_B = piece
        terms, metrics = objective(model.apply, params, batch, keys_B, **constants)
        both = {**terms, **metrics}
        return terms.keys(), {k: s for k, (s, _) in both.items()}, {k: w for k, (_, w) in both.items()}

    def piece_loss(trained, frozen, piece, weights, constants):
        terms, sums, _ = measure(trees.join(frozen, trained), piece, constants)
        means = {name: total / weights[name] for name, total in sums.items()}
        total = sum(means[name] for name in terms)
        return total, {**means, **({"total": total} if len(terms) > 1 else {})}

    def update(state, batch, gate=lambda metrics, apply: (*apply(), {})):
        stop = batch.get("stop")
        batch = {name: value for name, value in batch.items() if name != "stop"}
        key = jax.random.fold_in(jax.random.key(seed), state["step"])
        pieces = _cut(batch, key, accumulation)
        # The weights of the whole batch come first: each piece is divided by all of them, not by its own. They hang on
        # the batch alone, so the compiler drops the rest of this pass.
        constants = state.get("constants", {})
        weights = collect(measure(state["params"], _cut(batch, key, 1)[0], constants)[2])
        weights = {name: jnp.maximum(w, 1e-9) for name, w in weights.items()}
        trained, frozen = _split(state["params"], trains)
        gradient = lambda piece: jax.grad(piece_loss, has_aux=True)(trained, frozen, piece, weights, constants)
        grads, metrics = collect(_summed(gradient, pieces))
        tokens = collect(sum((value > 0).sum() for name, value in batch.items() if name.endswith("segments")))
        taken = state["step"] - state["extra"]["guard"]["skipped"]  # so many the optimizer has seen
        metrics |= {"grad_norm": optax.tree.norm(grads), "rate": schedule(taken) * state["extra"]["progress"]["scale"],
                    "tokens": tokens}
        if stop is not None:
            metrics["stop"] = collect(stop.sum())

        def apply():
            updates, opt_state = optimizer.update(grads, state["opt_state"], trained)
            updates = jax.tree.map(lambda u: u * state["extra"]["progress"]["scale"].astype(u.dtype), updates)
            return trees.join(frozen, optax.apply_updates(trained, updates)), opt_state
        params, opt_state, more = gate(metrics, apply)
        after = {"params": params, "opt_state": opt_state, "step": state["step"] + 1, "extra": state["extra"]}
        return after, metrics | more
    return update


def _summed(function, pieces):
    """The sum of `function` over pieces, one after the other."""
    if len(pieces) == 1:
        return function(pieces[0])
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *pieces)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(function, pieces[0]))
    return jax.lax.scan(lambda total, piece: (jax.tree.map(jnp.add, total, function(piece)), None), zeros, stacked)[0]


def _cut(batch, key, pieces):
    """[(batch, keys_B)] of `pieces` equal parts. Part j holds rows j, j + pieces, ...: a device cuts its own rows."""
    keys_B = jax.vmap(jax.random.fold_in, (None, 0))(key, batch["row"])
    rest = {name: value for name, value in batch.items() if name != "row"}
    return [jax.tree.map(lambda a: a[j::pieces], (rest, keys_B)) for j in range(pieces)]


def _split(params, trains):
    """(those that train, the others)."""
    return trees.split(params, trains) if trains else (params, {})


def memory() -> dict:
    """state["extra"] at step 0."""
    return {"guard": guard.new(), "progress": progress.new()}


def _inits(model_init, optimizer, trains, average):
    """(key, given -> parameters, key, given -> state at step 0); given: parameters that are there already."""
    def params(key, given):
        return trees.join(nn.meta.unbox(model_init(key)), given)

    def state(key, given):
        new = params(key, given)
        trained, _ = _split(new, trains)
        more = {"trained": jax.tree.map(jnp.copy, trained)} if average else {}  # a step donates both
        return {"params": new, "opt_state": optimizer.init(trained), "step": jnp.zeros((), jnp.int32),
                "extra": memory() | more}
    return params, state


def _whole(update, spikes, average, trains):
    """`update` with its guard, and with the average of its parameters where one is kept."""
    guarded = guard.guarded(update, spikes)
    return progress.averaged(guarded, average, functools.partial(_split, trains=trains)) if average else guarded


def _constant(step):
    """`step` as a function of (state, batch, constants)."""
    return lambda state, batch, constants: step({**state, "constants": constants}, batch)


def _in_step(step):
    """`step`; each of several processes compiles it before any runs it: at first, gloo waits 30 s for the others."""
    met = []

    def call(*args):
        if not met:
            step.lower(*args).compile()  # the call below finds it
            met.append(processes.together(lambda: None))
        return step(*args)
    return call if jax.process_count() > 1 else step


def jit_strategy(model, model_init, objective, optimizer, schedule, mesh, *, seed, accumulation=1, spikes=0.0,
                 average=0.0, trains=None, given=None, constants=None) -> Strategy:
    """The guarded step under `jax.jit`, its arrays laid out over `mesh` by the table in sharding.py.

    model_init: key -> parameters boxed with their logical axes. spikes: as `guard.guarded` takes it. average: as
    `progress.averaged` takes its decay; 0: none is kept. trains: as `make_update` takes it. given: {} or nested
    parameters (numpy) to start with in place of the new ones. constants: {name: (nested parameters (numpy; to be
    lowered alone: ShapeDtypeStructs with shardings), key -> the same boxed with their logical axes)}, keyword arguments
    of the objective; None: none.
    """
    init_params, init = _inits(model_init, optimizer, trains, average)
    key, given = jax.random.key(seed), given or {}
    shapes = jax.eval_shape(init, key, given)
    parameters = sharding.parameter_shardings(mesh, jax.eval_shape(model_init, key))
    where = sharding.state_shardings(mesh, shapes, parameters)
    on_mesh = functools.partial(sharding.on_mesh, mesh)
    update = make_update(model, objective, optimizer, schedule, seed=seed, accumulation=accumulation, trains=trains)
    step = jax.jit(_constant(_whole(update, spikes, average, trains)), in_shardings=(where, None, None),
                   out_shardings=(where, None), donate_argnums=0)
    laid = lambda x, here: x if isinstance(x, jax.ShapeDtypeStruct) else jax.device_put(x, here)
    kept = {name: jax.tree.map(laid, params, sharding.parameter_shardings(mesh, jax.eval_shape(boxed, key)))
            for name, (params, boxed) in (constants or {}).items()}
    target = jax.tree.map(lambda s, w: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=w), shapes, where)
    place = lambda state: jax.tree.map(jax.device_put, state, where)
    part = sharding.share(mesh)

    def put(batch):
        flag = {"stop": sharding.put_flag(batch["stop"].any(), mesh)} if "stop" in batch else {}
        return sharding.put_batch({name: value for name, value in batch.items() if name not in flag}, mesh, part) | flag

    def lower(batch):
        shapes = {name: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding.batch_sharding(mesh, a.ndim))
                  for name, a in batch.items()}
        return on_mesh(step.lower)(target, shapes, kept)
    def begin(function, shardings):
        here = by_path(where["params"])
        placed = map_with_path(lambda path, x: jax.device_put(x, here[path]), given)
        return on_mesh(jax.jit(function, out_shardings=shardings))(key, placed)
    together = _in_step(step)
    return Strategy(on_mesh(lambda state, batch: together(state, batch, kept)), lambda: begin(init, where),
                    lambda: begin(init_params, where["params"]), put, place, lambda state: state, target, part, lower)


def pmap_strategy(model, model_init, objective, optimizer, schedule, devices, *, seed, accumulation=1, spikes=0.0,
                  average=0.0, trains=None, given=None, constants=None) -> Strategy:
    """The guarded step under `jax.pmap`: a whole copy of the state on each device, the batch split between them."""
    init_params, init = _inits(model_init, optimizer, trains, average)
    key, given = jax.random.key(seed), given or {}
    local = [d for d in devices if d.process_index == jax.process_index()]
    update = make_update(model, objective, optimizer, schedule, seed=seed, accumulation=accumulation, axis="data",
                         trains=trains)
    step = _in_step(jax.pmap(_constant(_whole(update, spikes, average, trains)), axis_name="data", devices=devices,
                             donate_argnums=0))
    split = lambda a: np.reshape(a, (len(local), a.shape[0] // len(local), *a.shape[1:]))
    place = lambda state: jax.tree.map(lambda x: np.broadcast_to(np.asarray(x)[None], (len(local), *x.shape)), state)
    kept = {name: params for name, (params, _) in (constants or {}).items()}
    kept = jax.pmap(lambda x: x, devices=devices)(place(kept)) if kept else {}
    # x[0] would be a computation on all devices, for each array: many at once have too few threads to meet on CPUs.
    first = lambda x: x.addressable_data(0)[0] if isinstance(x, jax.Array) else x[0]
    collect = lambda state: jax.tree.map(first, state)
    one = jax.sharding.SingleDeviceSharding(local[0])
    target = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=one),
                          jax.eval_shape(init, key, given))

    def run(state, batch):
        state, metrics = step(state, batch, kept)
        return state, collect(metrics)
    return Strategy(run, lambda: place(jax.jit(init)(key, given)), lambda: jax.jit(init_params)(key, given),
                    lambda batch: jax.tree.map(split, batch), place, collect, target,
                    (jax.process_index(), jax.process_count()))


def check_layout(settings, mesh, spec):
    """Raises a UserError where `mesh` cannot cut the batches of `settings` (config.train), their rows or the model of
    these keyword arguments, or is more than pmap can do."""
    size, length = mesh.shape, settings.length
    ways = sharding.ways(size)
    for name, rows in {"batch": settings.batch, "ramp_from": settings.ramp and settings.ramp_from}.items():
        if rows % (pieces := ways * settings.accumulation):
            raise UserError(f"config.train.{name}={rows} must be a multiple of {pieces}: {ways} device(s) that split "
                            f"the batch, times config.train.accumulation={settings.accumulation}")
    if settings.parallel == "pmap" and size["data"] != mesh.size:
        raise UserError("config.train.parallel='pmap' splits the batch only: every config.mesh size but data must be 1")
    if size["expert"] > 1 and not spec.experts:
        raise UserError(f"config.mesh.expert={size['expert']} splits experts, and config.model.experts=0; use "
                        "config.mesh.data")
    if spec.matmul == "fp8":
        fp8.check(mesh.devices.flat[0].device_kind)
    field = "config.train.length" if length else "config.model.context"
    for axis, numbers in {"context": {field: length or spec.context}, "expert": {"config.model.experts": spec.experts},
                          "tensor": {"config.model.kv_heads" if spec.kv_heads else "config.model.heads": spec.groups,
                                     "config.model.ff": spec.hidden},
                          "fsdp": {"config.model.width": spec.width}}.items():
        for name, number in numbers.items():
            if number % size[axis]:
                raise UserError(f"config.mesh.{axis}={size[axis]} does not divide {name}={number}; try "
                                f"{divisors(mesh.size, *numbers.values())}")


def make_strategy(parallel, model, model_init, objective, optimizer, schedule, mesh, **common):
    """The strategy that config.train.parallel names: "jit" or "pmap". `check_layout` says whether the mesh will do.
    common: as `jit_strategy` takes them."""
    if parallel == "jit":
        return jit_strategy(model, model_init, objective, optimizer, schedule, mesh, **common)
    return pmap_strategy(model, model_init, objective, optimizer, schedule, list(mesh.devices.flat), **common)
