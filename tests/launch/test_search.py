"""The search over layouts, its compiler played by arithmetic, against trying them all."""

import pytest

from configs import llama
from lmlab.launch import plan, report, search, strategy
from lmlab.models.spec import Spec
from lmlab.utils.errors import UserError

SIZE = ("tiny,model.width=256,model.ff=1024,model.layers=3,model.context=128,model.heads=4,model.kv_heads=4,"
        "optimizer.name=adamw,train.batch=32,train.precision=bfloat16")
GiB = 2 ** 30


@pytest.fixture
def world(monkeypatch):
    """Sixteen chips that need not be there, of a memory to choose; a compiler that finds what arithmetic guessed, times
    `off`; [what it was asked]."""
    class Device:
        platform, device_kind, slice_index, process_index = "tpu", "TPU v5 lite", 0, 0

        def __init__(self, i):
            self.id, self.coords, self.core_on_chip = i, (i % 4, i // 4, 0), 0
    monkeypatch.setattr(plan, "devices", lambda topology: [Device(i) for i in range(16)])
    config = llama.get_config(SIZE)
    every = {tuple(c.values.values()): c for c in search.candidates(config, "v5e:4x4")}
    asked = []

    def world(memory, off):
        def compiled(config, topology, vocab_size):
            flat = dict(zip(search.KEYS, (config.mesh.data, config.mesh.fsdp, config.mesh.tensor, config.model.remat,
                                          config.train.batch)))
            c = every[tuple(flat.values())]
            asked.append(c)
            needed = c.state + off * c.temporaries
            work = strategy.Work(Spec(vocab_size=100), c.rows, 128)
            return plan.Plan(topology, {**config.mesh}, work, 0, 0, 0, 0, (), memory, 1.0, fits=needed <= memory,
                             temporary_bytes=off * c.temporaries, needed=needed, seconds={"compute": c.seconds})
        monkeypatch.setitem(plan.chips.CHIPS, "v5e", plan.chips.CHIPS["v5e"]._replace(memory=memory))
        return compiled
    return config, every, world, asked


@pytest.mark.parametrize("off", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("memory", [0.05, 0.1, 1.0])
def test_it_finds_the_fastest_that_fits_among_all(world, memory, off):
    config, every, make, asked = world
    results = search.search(config, "v5e:4x4", most=100, compiled=make(memory * GiB, off))
    fit = [c.rows / c.seconds for c in every.values() if c.state + off * c.temporaries <= memory * GiB]
    best = max((c.rows / c.seconds for c, p in results if p.fits), default=0)
    assert len({tuple(c.values.values()) for c in asked}) == len(asked) == len(results)
    if off >= 1:  # where less is needed than guessed, one that was not tried for want of room might have been faster
        assert best == pytest.approx(max(fit, default=0), rel=0.01)


def test_it_compiles_six_at_most_and_tells_each(world):
    config, _, make, asked = world
    told = []
    results = search.search(config, "v5e:4x4", compiled=make(0.0001 * GiB, 1.0), tell=told.append)
    assert len(results) == len(asked) == len(told) == 6 and not any(p.fits for _, p in results)
    assert "none fits: it does not fit" in report.tried(results)


def test_the_best_is_given_as_flags(world):
    config, _, make, _ = world
    results = search.search(config, "v5e:4x4", compiled=make(16 * GiB, 1.0))
    best = max(results, key=lambda r: r[1].tokens_per_day)[0]
    told = report.tried(results)
    assert best.flags in told and best.flags.startswith("--config.mesh.data=") and len(results) <= 6
    again = search.changed(config, best.values)
    assert again.train.batch == best.rows and again.mesh.fsdp == best.values["mesh.fsdp"] and config.train.batch == 32


def test_every_candidate_divides(world):
    _, every, _, _ = world
    assert len(every) > 30
    for c in every.values():
        data, fsdp, tensor, remat, batch = c.values.values()
        assert data * fsdp * tensor == 16 and batch % (data * fsdp) == 0 and batch in (16, 32, 64) and 4 % tensor == 0


def test_nothing_that_divides_is_one_line(world):
    config, _, _, _ = world
    with pytest.raises(UserError, match="found no layout of v5e:4x4"):
        search.search(search.changed(config, {"train.batch": 1}), "v5e:4x4")
