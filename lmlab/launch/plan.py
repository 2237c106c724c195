"""Plans a run on devices that are not there: its real train step is compiled for them, and what came out is read.

The roofline, its convention: the step takes at least as long as the slowest of three, each at the peak that the chip's
maker publishes and all beside each other: its operations (what is recomputed included), the bytes that the compiled
program moves to and from memory, the bytes that its collectives send, by the ring, over both links of as many axes of
the torus as a group needs. MFU counts each operation of the model once. So times and MFU are bounds, not measurements.
"""

import dataclasses
import itertools
import math
import os
import re
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from lmlab import run
from lmlab.launch import hlo, strategy
from lmlab.models import flops, nf4
from lmlab.train import sharding, step
from lmlab.utils import chips
from lmlab.utils.errors import UserError

# What libtpu would else ask the network for, the machine that it is on; and that two may plan at once, with no chip to
# quarrel over.
_ALONE = {"TPU_SKIP_MDS_QUERY": "1", "TPU_ACCELERATOR_TYPE": "v5litepod-4", "TPU_WORKER_HOSTNAMES": "localhost",
          "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
_UNITS = {"K": 2 ** 10, "M": 2 ** 20, "G": 2 ** 30, "T": 2 ** 40}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What one layout of a run takes and gives; bytes and operations are of one device and one step."""
    topology: str
    mesh: dict                  # sizes by axis
    work: strategy.Work
    parameters: int             # in all
    parameter_bytes: float      # by arithmetic, from shapes and shardings
    optimizer_bytes: float      # likewise
    batch_bytes: float          # likewise, counters too
    expected: tuple             # strategy.Expected: the collectives that the layout needs
    capacity: float             # of the device; 0 where it is the host's
    flops: float                # by the convention of lmlab.models.flops
    fits: bool = True           # as the compiler finds
    argument_bytes: float = 0.0  # as compiled: the state and the batch
    temporary_bytes: float = 0.0  # as compiled: activations, gradients, buffers
    needed: float = 0.0         # in all; where it does not fit, what the compiler said
    collectives: tuple = ()     # hlo.Collective
    teacher_parameters: int = 0  # of config.distil.teacher, in all
    teacher_bytes: float = 0.0  # by arithmetic
    unread: str = ""            # why the compiled program could not be read: then it has no collectives here
    seconds: dict = dataclasses.field(default_factory=dict)  # the least time a step, by what bounds it; host: none
    compile_seconds: float = 0.0

    @property
    def tokens(self) -> int:
        """A step, all devices together."""
        return self.work.rows * self.work.length

    @property
    def bound(self) -> str:
        """What the step waits for: compute, memory or network."""
        return max(self.seconds, key=self.seconds.get)

    @property
    def mfu(self) -> float:
        """The share of the chip's peak that the step reaches at best."""
        return self.flops / chips.CHIPS[self.topology.partition(":")[0]].flops / self.seconds[self.bound]

    @property
    def tokens_per_day(self) -> float:
        """At best; 0 where it does not fit or there is no roofline."""
        return self.tokens / self.seconds[self.bound] * 86400 if self.fits and self.seconds else 0.0

    @property
    def excess(self) -> float:
        """Bytes that the program sends over those that its layout needs; 0: unknown, or nothing to send."""
        needed = sum(e.collective.sent for e in self.expected)
        # What a teacher's parameters need to be gathered is not told by strategy.predicted.
        known = self.fits and not self.unread and not self.teacher_parameters
        known = known and self.mesh.get("context", 1) == self.mesh.get("expert", 1) == 1
        return sum(c.sent for c in self.collectives) / needed if known and needed else 0.0


def devices(topology) -> list:
    """The devices of "v5e:4x4", "v5p:2x2x1", ..., which need not be there, or of "cpu:8".

    Raises:
      UserError: where the name is none, or libtpu is not installed.
    """
    kind, _, shape = topology.partition(":")
    if kind == "cpu" and shape.isdecimal() and int(shape):
        found = jax.devices("cpu")[:int(shape)]
        if len(found) < int(shape):
            raise UserError(f"--topology={topology}: this process has {len(found)} CPU devices")
        return found
    if kind not in chips.CHIPS or not re.fullmatch(r"\d+(x\d+){1,2}", shape):
        raise UserError(f"--topology={topology!r} is none; give a kind of TPU and its shape, as v5e:4x4 or v5p:2x2x2, "
                        "or cpu:8")
    from jax.experimental import topologies
    for name, value in _ALONE.items():
        os.environ.setdefault(name, value)
    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices)
    except Exception as error:
        raise UserError(f"--topology={topology}: {str(error).splitlines()[0][:300]}; it needs the libtpu wheel "
                        "(pip install 'lmlab[plan]') and a shape that the chip comes in") from error


def complete(config, vocab_size=0) -> tuple:
    """(the whole config, checked, its network that of config.init_from where that is set; the size of the vocabulary;
    its teacher: an LM, or None). The text does not matter; vocab_size: as `of_config` takes it.

    Raises:
      UserError: for an objective that reads examples, of which none are made here.
    """
    config = run.complete({**config.to_dict(), "data": {}}, {})
    if run.reads(config):
        raise UserError(f"config.objective.name={config.objective.name} reads examples, and plan makes none; plan the "
                        "network with config.objective.name=causal, or masked for an encoder")
    config, start, teacher = run.begin(config)
    run.check(config)
    source = start or teacher
    return config, vocab_size or (source.tokenizer.vocab_size if source else vocabulary(config)), teacher


def of_config(config, topology, vocab_size=0) -> Plan:
    """The plan of a whole config. vocab_size: of the tokenizer; 0: what config.tokenizer says of it.

    Raises:
      UserError: where the mesh does not divide the devices or the batch, or nothing tells the vocabulary.
    """
    found, (config, vocab_size, teacher) = devices(topology), complete(config, vocab_size)
    settings = config.train
    model = run.build_model(config, vocab_size)
    mesh = sharding.make_mesh(**config.mesh, devices=found)
    step.check_layout(settings, mesh, model.spec)
    objective, constants = run.beside(config, teacher, run.build_objective(config, vocab_size), model)
    constants = {name: (laid(*each, mesh), each[1]) for name, each in constants.items()}
    how = step.make_strategy("jit", model, run.initialiser(config, model), objective,
                             *run.build_optimizer(config, model), mesh, seed=config.seed, spikes=settings.spikes,
                             accumulation=settings.accumulation, average=settings.average, trains=run.trains(config),
                             constants=constants)
    batch = {name: np.broadcast_to(value, (settings.batch, *value.shape[1:])) for name, value in row(config).items()}
    work = work_of(config, model.spec, batch)
    known = (teacher.model.spec, constants["teacher"][0]) if teacher else None
    return make(how, batch, work, mesh, topology, known)


def laid(params, boxed, mesh):
    """The shapes of parameters, laid out over `mesh`. boxed: key -> the same with their logical axes."""
    where = sharding.parameter_shardings(mesh, jax.eval_shape(boxed, jax.random.key(0)))
    return jax.tree.map(lambda x, here: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), params, where)


def work_of(config, spec, batch) -> strategy.Work:
    """What a step of `config` computes, whose batches have these shapes."""
    source = batch["encoder_tokens"].shape[1] if "encoder_tokens" in batch else 0
    length = batch["tokens"].shape[1]
    return strategy.Work(spec, config.train.batch, length, source, config.train.accumulation,
                         config.objective.get("chunk", 0), run.targets(config, spec, length))


def forward(work, teacher) -> float:
    """Operations of a teacher in a step, on all devices; teacher: (spec, shapes), or None."""
    return flops.train_step(*teacher, work.rows, work.length, work.source, work.targets) / 3 if teacher else 0.0


def make(how, batch, work, mesh, topology, teacher=None) -> Plan:
    """Compiles the step of a `step.Strategy` for its devices. batch: arrays, whose shapes count. teacher: as `forward`
    takes it, its shapes with shardings."""
    sizes, target = dict(mesh.shape), how.target
    chip = chips.CHIPS.get(topology.partition(":")[0])
    plan = Plan(topology, sizes, work, nf4.count(target["params"]),
                held(target["params"]), held(target["opt_state"]),
                sum(a.nbytes for a in batch.values()) / sharding.ways(sizes) / sizes.get("context", 1),
                tuple(strategy.predicted(target["params"], work, sizes)), chip.memory if chip else 0.0,
                flops.train_step(work.spec, target["params"], work.rows, work.length, work.source, work.targets)
                / mesh.size, teacher_parameters=nf4.count(teacher[1]) if teacher else 0,
                teacher_bytes=held(teacher[1]) if teacher else 0.0)
    lowered, start = how.lower(batch), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        # jax may be unable to read what a newer compiler wrote; the compiler's own text always can be.
        options = {"xla_dump_to": folder, "xla_dump_hlo_as_text": True}
        try:
            compiled = lowered.compile(compiler_options=options if chip else None)
        except jax.errors.JaxRuntimeError as error:
            needed, there = too_much(str(error))
            if not needed:
                raise
            return dataclasses.replace(plan, fits=False, needed=needed, capacity=there or plan.capacity)
        took = time.perf_counter() - start
        text, unread = _text(compiled, Path(folder))
    memory, program = compiled.memory_analysis(), hlo.Program(text) if text else None
    argument, temporary = float(memory.argument_size_in_bytes), float(memory.temp_size_in_bytes)
    found = tuple(program.collectives()) if program else ()
    operations = (strategy.executed(target["params"], work) + forward(work, teacher)) / mesh.size
    sent = found if program else [e.collective for e in plan.expected]
    return dataclasses.replace(
        plan, argument_bytes=argument, temporary_bytes=temporary, collectives=found, unread=unread,
        compile_seconds=took, needed=argument + temporary + memory.output_size_in_bytes - memory.alias_size_in_bytes,
        seconds=roofline(operations, program.moved() if program else 2 * argument, sent, topology) if chip else {})


def _text(compiled, folder):
    """(the compiled program's text, why it cannot be read)."""
    written = sorted(folder.glob("*jit_step*after_optimizations.txt"))
    try:
        return written[0].read_text() if written else compiled.as_text(), ""
    except jax.errors.JaxRuntimeError as error:
        return "", str(error).splitlines()[0][:200]


def roofline(operations, moved, sent, topology) -> dict:
    """Seconds that compute, memory and network take at the least. sent: the collectives, an iterable."""
    kind, _, shape = topology.partition(":")
    chip, sizes = chips.CHIPS[kind], sorted(map(int, shape.split("x")), reverse=True)
    spans = [*itertools.accumulate(sizes, lambda a, b: a * b)]

    def axes(group):
        return next((n for n, span in enumerate(spans, 1) if span >= group), len(spans))
    return {"compute": operations / chip.flops, "memory": moved / chip.bandwidth,
            "network": sum(c.sent / (chip.link * 2 * axes(c.group)) for c in sent)}


def held(shapes) -> float:
    """Bytes that a device holds of a tree of shapes with shardings."""
    size = lambda leaf: math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    return float(sum(size(leaf) for leaf in jax.tree.leaves(shapes)))


def too_much(message) -> tuple:
    """(bytes that a compiler said a program needs, bytes that it has); zeros where it does not say."""
    found = re.search(r"Used ([\d.]+)([KMGT]) of ([\d.]+)([KMGT])", message)
    if found:
        return float(found[1]) * _UNITS[found[2]], float(found[3]) * _UNITS[found[4]]
    found = re.search(r"temporaries \(([\d.]+)([KMGT])\) exceeds", message)
    return (float(found[1]) * _UNITS[found[2]] if found else 0.0), 0.0


def vocabulary(config) -> int:
    """The size of the vocabulary, as far as the config tells it."""
    if config.tokenizer.name == "bytes":
        return 257
    if config.tokenizer.name in ("chars", "file"):
        raise UserError(f"config.tokenizer.name={config.tokenizer.name!r} does not tell the size of the vocabulary; "
                        "give --vocab_size")
    return config.tokenizer.vocab_size


def row(config) -> dict:
    """{name: (1, ...)} a row of padding as a batch of the config has it, by way of a text of no account."""
    with tempfile.TemporaryDirectory() as folder:
        paired = config.objective.name == "seq2seq"
        path = Path(folder) / ("text.tsv" if paired else "text.txt")
        path.write_text("".join(f"a b{n}\ta c{n}\n" for n in range(500)) if paired else
                        "".join(f"a b{n}. A c{n}.\n\n" for n in range(2000)))
        more = {"field": "0,1"} if paired else {"split": "tail"}
        data = {"source": "files", "path": str(path), **more}
        small = run.complete({**config.to_dict(), "data": data, "tokenizer": {"name": "bytes"}}, {})
        return run.padding(small, run.prepare(small))
