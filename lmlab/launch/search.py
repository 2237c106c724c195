"""Looks for a layout that fits and is fast: chosen by arithmetic among many, proved by compiling a few."""

import itertools
from typing import NamedTuple

import flax.linen as nn
import jax

from lmlab import run
from lmlab.launch import plan, strategy
from lmlab.train import sharding, step
from lmlab.utils import chips
from lmlab.utils.errors import UserError

MOST = 6  # compilations
KEYS = ("mesh.data", "mesh.fsdp", "mesh.tensor", "model.remat", "train.batch")


class Candidate(NamedTuple):
    """A layout, and what arithmetic says of it."""
    values: dict        # of KEYS
    state: float        # bytes on a device, batch aside
    temporaries: float  # guessed
    seconds: float      # at the least, guessed
    inexact: float      # of all parts of the roofline, one after the other: the less the better where seconds are alike
    rows: int

    @property
    def flags(self) -> str:
        """To paste after a command."""
        return " ".join(f"--config.{key}={value}" for key, value in self.values.items())


def search(config, topology, vocab_size=0, most=MOST, compiled=plan.of_config, tell=lambda candidate: None) -> list:
    """[(candidate, its plan)] in the order tried, at most `most`.

    The one that should be fastest of those that should fit comes next; what compiling it shows of the memory corrects
    the guesses for the others. It ends where no other can be faster than the best that was found to fit.

    Args:
      config, topology, vocab_size: as plan.of_config takes them; config.train.batch is tried halved and doubled too.
      compiled: what makes a plan of them. tell: is told of a candidate before it is compiled.
    """
    if topology.startswith("cpu"):
        raise UserError(f"--search needs a topology whose chip is known, not {topology}; as v5e:4x4")
    left, tried, known = candidates(config, topology, vocab_size), [], {}
    capacity = chips.CHIPS[topology.partition(":")[0]].memory
    rate = lambda c: c.rows / c.seconds

    def needed(c):
        remat = c.values["model.remat"]
        return c.state + c.temporaries * known.get(remat, max(known.values(), default=1.0))
    while left and len(tried) < most:
        best = max((c.rows / found.seconds[found.bound] for c, found in tried if found.fits), default=0.0)
        able = [c for c in left if needed(c) <= capacity and rate(c) > best]
        if not able and best:
            break
        chosen = max(able, key=lambda c: (float(f"{rate(c):.3g}"), -c.inexact)) if able else min(left, key=needed)
        left.remove(chosen)
        tell(chosen)
        found = compiled(changed(config, chosen.values), topology, vocab_size)
        tried.append((chosen, found))
        capacity = found.capacity
        taken = found.temporary_bytes if found.fits else found.needed - chosen.state
        remat = chosen.values["model.remat"]
        known[remat] = max(taken / chosen.temporaries, known.get(remat, 0.0))
    return tried


def changed(config, values):
    """A copy of `config` with {"section.key": value}."""
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.update_from_flattened_dict(values)
    return config


def candidates(config, topology, vocab_size=0) -> list[Candidate]:
    """Every layout of the devices over data, fsdp and tensor that divides the model and the batch, with each policy of
    recomputation. Raises a UserError where there is none."""
    found, (config, vocab_size, teacher) = plan.devices(topology), plan.complete(config, vocab_size)
    model = run.build_model(config, vocab_size)
    boxed = jax.eval_shape(run.initialiser(config, model), jax.random.key(0))
    params = nn.meta.unbox(boxed)
    transform, _ = run.build_optimizer(config, model)
    state = {"params": params, "opt_state": jax.eval_shape(transform.init, params)}
    row, others = plan.row(config), config.mesh.get("context", 1) * config.mesh.get("expert", 1)
    possible, why = [], None
    for data, tensor in itertools.product([2 ** i for i in range(10)], (1, 2, 4, 8)):
        if len(found) % (data * tensor * others):
            continue
        layout = {"data": data, "fsdp": len(found) // (data * tensor * others), "tensor": tensor}
        try:
            mesh = sharding.make_mesh(**{**config.mesh, **layout}, devices=found)
            where = sharding.state_shardings(mesh, state, sharding.parameter_shardings(mesh, boxed))
        except (UserError, NotImplementedError) as error:  # jax does not cut every torus every way
            why = error
            continue
        target = jax.tree.map(lambda s, w: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=w), state, where)
        for remat, factor in itertools.product(("none", "dots", "full"), (0.5, 1, 2)):
            values = dict(zip(KEYS, (*layout.values(), remat, max(1, int(config.train.batch * factor)))))
            try:
                possible.append(_candidate(changed(config, values), values, model.spec.vocab_size, row, mesh, target,
                                           topology, teacher))
            except UserError as error:
                why = error
    if not possible:
        raise UserError(f"--search found no layout of {topology} that divides the model and its batch: {why}")
    return possible


def _candidate(config, values, vocab_size, row, mesh, target, topology, teacher):
    model, sizes = run.build_model(config, vocab_size), dict(mesh.shape)
    step.check_layout(config.train, mesh, model.spec)
    work = plan.work_of(config, model.spec, row)
    state, gradients = plan.held(target), plan.held(target["params"])
    operations = strategy.executed(target["params"], work)
    if teacher:
        shapes = plan.laid(teacher.params, run.initialiser(teacher.config, teacher.model), mesh)
        state, operations = state + plan.held(shapes), operations + plan.forward(work, (teacher.model.spec, shapes))
    seconds = plan.roofline(operations / mesh.size, strategy.moved(state, work, sizes),
                            [e.collective for e in strategy.predicted(target["params"], work, sizes)], topology)
    return Candidate(values, state, strategy.temporaries(gradients, work, sizes), max(seconds.values()),
                     sum(seconds.values()), config.train.batch)
