"""Plans of small runs: memory against arithmetic, refusals, what a reader is told."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from commands import quick, tiny
from configs import classification, gpt, llama, seq2seq
from lmlab import run
from lmlab.launch import growth, plan, report, search, strategy
from lmlab.launch.hlo import Collective
from lmlab.models import flops
from lmlab.models.spec import Spec
from lmlab.utils import chips
from lmlab.utils.errors import UserError

TINY = "tiny,model.layers=2,model.width=64,model.ff=128,model.context=64,train.batch=16,optimizer.name=adamw"
GiB = 2 ** 30
SPEC = Spec(vocab_size=1000, width=64, layers=2, heads=4, dtype=jnp.bfloat16)
PLAN = plan.Plan("v5e:4x4", {"data": 1, "fsdp": 16, "tensor": 1}, strategy.Work(SPEC, 128, 256), 10 ** 9, GiB,
                 2 * GiB, 0, (strategy.Expected("parameters", Collective("all-gather", 16, 2, 32.0 * GiB)),), 16 * GiB,
                 1e12, argument_bytes=3 * GiB, temporary_bytes=5 * GiB, needed=8 * GiB,
                 collectives=(Collective("all-gather", 16, 2, 33.0 * GiB),),
                 seconds={"compute": 0.01, "memory": 0.02, "network": 0.015})


@pytest.fixture(scope="module")
def small(eight):
    """A small LLaMA on eight devices that split it."""
    return plan.of_config(llama.get_config(f"{TINY},mesh.data=1,mesh.fsdp=-1"), "cpu:8")


def test_arguments_are_the_state_and_the_batch(small):
    """AdamW: parameters and two moments in float32, by the shapes of the published layout; five numbers a token."""
    assert small.mesh["fsdp"] == 8
    matrices = 1024 * 64 + 2 * (64 * (4 + 2 + 2) * 16 + 64 * 64 + 3 * 64 * 128)
    norms = 5 * 64
    assert small.parameters == matrices + norms
    assert small.parameter_bytes == 4 * (matrices / 8 + norms)
    state = small.parameter_bytes + small.optimizer_bytes + small.batch_bytes
    assert small.optimizer_bytes == pytest.approx(2 * small.parameter_bytes, rel=0.001)
    assert small.argument_bytes == pytest.approx(state, rel=0.01)
    assert small.tokens == 16 * 64 and small.fits and not small.seconds


def test_an_encoder_is_counted(eight):
    found = plan.of_config(seq2seq.get_config("tiny,mesh.data=8,train.batch=16"), "cpu:8")
    assert found.work.source and found.flops > 0
    state = found.parameter_bytes + found.optimizer_bytes + found.batch_bytes
    assert found.argument_bytes == pytest.approx(state, rel=0.01)


@pytest.mark.parametrize("mesh, devices", [("mesh.data=1", 1), ("mesh.data=1,mesh.fsdp=-1", 8)])
def test_a_teacher_is_counted(eight, mesh, devices):
    """Beside the student's state a device holds its part of the teacher's parameters, and reads them."""
    teacher = tiny() / "run"
    sizes = [leaf.size for leaf in jax.tree.leaves(run.load(teacher).params)]
    config = f"tiny,train.batch=16,train.length=16,distil.layers=1,{mesh},distil.teacher={teacher}"
    found = plan.of_config(gpt.get_config(config), f"cpu:{devices}")
    assert found.teacher_parameters == sum(sizes) > found.parameters and found.work.spec.layers == 1
    assert 4 * sum(sizes) / devices <= found.teacher_bytes <= 4 * sum(sizes) / devices + 4000  # norms are whole
    state = found.parameter_bytes + found.optimizer_bytes + found.batch_bytes + found.teacher_bytes
    assert found.argument_bytes == pytest.approx(state, rel=0.01)
    assert f"(and {sum(sizes):,} of a teacher)" in report.table(found) and "| teacher |" in report.table(found)
    known = run.load(teacher)
    assert plan.forward(found.work, (known.model.spec, known.params)) == pytest.approx(
        flops.train_step(known.model.spec, known.params, 16, 16) / 3)


def test_a_search_counts_a_teacher(monkeypatch, eight):
    """Each layout's candidate holds the teacher's part beside what it holds without one."""
    monkeypatch.setattr(plan, "roofline", lambda operations, *_: {"compute": operations})
    config = f"tiny,train.batch=16,train.length=16,distil.teacher={tiny() / 'run'}"
    taught, plain = ({tuple(c.values.values()): c for c in search.candidates(gpt.get_config(arg), "cpu:8")}
                     for arg in (config, config.rpartition(",")[0]))
    assert taught.keys() == plain.keys()
    for key, one in taught.items():
        assert one.state > plain[key].state and one.seconds > plain[key].seconds


@pytest.mark.parametrize("arg, topology, said", [
    (f"{TINY},mesh.data=3", "cpu:8", "config.mesh.data=3 does not divide 8 devices; try 2, 4, 8"),
    (f"{TINY},train.batch=12,mesh.data=8", "cpu:8", "config.train.batch=12 must be a multiple of 8"),
    (f"{TINY},mesh.data=1,mesh.tensor=8", "cpu:8", "config.mesh.tensor=8 does not divide"),
    (f"{TINY},tokenizer.name=chars", "cpu:8", "give --vocab_size"),
    (TINY, "v5e", "--topology='v5e' is none"), (TINY, "tpu:4x4", "--topology='tpu:4x4' is none"),
    (TINY, "cpu:0", "is none"), (TINY, "cpu:99", "this process has 8 CPU devices")])
def test_what_cannot_be_planned_is_refused_in_one_line(eight, arg, topology, said):
    with pytest.raises(UserError) as raised:
        plan.of_config(llama.get_config(arg), topology)
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_an_objective_of_examples_is_refused_in_one_line():
    with pytest.raises(UserError, match="config.objective.name=classification reads examples, and plan makes none"):
        plan.of_config(classification.get_config("tiny"), "cpu:1")


def test_the_roofline_of_a_ring_by_hand():
    chip, gathered = chips.CHIPS["v5e"], Collective("all-gather", 256, 1, 256e9)
    seconds = plan.roofline(1.97e14, 8.1e11, [gathered], "v5e:16x16")
    assert seconds == pytest.approx({"compute": 1.0, "memory": 1.0, "network": 255e9 / (4 * chip.link)})
    along_one_axis = plan.roofline(0, 0, [gathered._replace(group=16, result=16e9)], "v5e:16x16")["network"]
    assert along_one_axis == pytest.approx(15e9 / (2 * chip.link))


def test_a_table_tells_all_and_warns_of_what_is_sent_twice():
    told = report.table(PLAN)
    for said in ("1,000,000,000 parameters", "fsdp 16", "128 rows of 256 tokens", "| parameters | 1 GiB |",
                 "of 16 GiB: fits", "| bound by | memory |", "| MFU at most | 25% |", "sent / needed |  |  | 1.031"):
        assert said in told
    assert PLAN.mfu == pytest.approx(1e12 / 197e12 / 0.02)
    assert PLAN.tokens_per_day == 128 * 256 / 0.02 * 86400
    assert "warning" not in told
    twice = dataclasses.replace(PLAN, collectives=(Collective("all-gather", 16, 2, 64.0 * GiB),))
    assert "warning: the program sends 100% more" in report.table(twice)
    unread = dataclasses.replace(PLAN, collectives=(), unread="no reason")
    assert "could not be read (no reason)" in report.table(unread) and "warning" not in report.table(unread)


@pytest.mark.parametrize("changes, said", [
    # 13 GiB for 8 rows beside 4 of state and gradients, in a room of 12: 7 rows
    (dict(needed=17 * GiB), "7 of the 8 rows a device would fit: config.train.batch=112 or "
     "config.train.accumulation=2"),
    (dict(needed=400 * GiB), "not one row a device would: try config.model.remat=full"),
    (dict(needed=40 * GiB, parameter_bytes=8 * GiB, optimizer_bytes=16 * GiB), "alone take 32 GiB: split them over "
     "more than 32 devices, config.mesh.fsdp times config.mesh.tensor is 16")])
def test_what_does_not_fit_is_told_what_would(changes, said):
    told = report.remedy(dataclasses.replace(PLAN, fits=False, **changes))
    assert said in told and "\n" not in told and "of 16 GiB a device" in told


def test_a_compilers_refusal_is_read():
    tpu = "RESOURCE_EXHAUSTED: ... Ran out of memory in memory space hbm. Used 20.50G of 15.75G hbm. Exceeded by 4.75G."
    assert plan.too_much(tpu) == (20.5 * GiB, 15.75 * GiB) and plan.too_much("another fault") == (0.0, 0.0)


def test_growth_is_drawn(small, tmp_path):
    picture = growth.draw([small, dataclasses.replace(small, temporary_bytes=2 * small.temporary_bytes)], tmp_path)
    assert picture.read_bytes()[:4] == b"\x89PNG" and "cpu:8" in (tmp_path / "growth.md").read_text()


def test_the_verb_prints_a_plan_or_one_line():
    config = f"--config=configs/gpt.py:{TINY}"
    done = quick("plan", config, "--topology=cpu:4", "--config.mesh.fsdp=2")
    assert done.code == 0 and "(data 2 × fsdp 2)" in done.out and "| parameters |" in done.out
    for flags, said in ((("--topology=v5e:4x4x4x4",), "is none"), ((), "plan needs --topology"),
                        (("--topology=cpu:8", "--search"), "--search needs a topology whose chip is known"),
                        (("--grow=cpu:4,cpu:8",), "--out=FOLDER")):
        done = quick("plan", config, *flags)
        assert done.code == 1 and said in done.err and done.err.count("\n") == 1
