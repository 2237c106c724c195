"""Silent faults that other projects have on record, one test each: the scenario played here, the long way beside it.

Each docstring begins with the record. Scores and texts are in test_on_record_in_use.py. Waiting for their feature: MFU
of an unknown device (nanochat #147), LoRA (opacus #820), Chinese ROUGE (evaluate #256), lm-eval over a server
(llama.cpp #27174), and the server itself (FastChat #88: script in an answer; CVE-2026-34756: many answers at once).
"""

import contextlib
import functools
import json
import resource
import time
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import kinds
import numpy as np
import pytest

from lmlab import objectives, run
from lmlab.data import loader
from lmlab.models import transformer
from lmlab.train import checkpoint, loop, optimizer, sharding, step
from lmlab.utils.errors import UserError
from lmlab.utils.logs import RunLog
from lmlab.utils.process import StopSignals

STEPS, BATCH, ROWS = 9, 8, 20  # the third batch holds the end of the first epoch and the start of the second
CUTS = (2, 3, 6)


class Killed(Exception):
    """The process is gone."""


# --- a run, cut three times ---

@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A folder with train.jsonl, whose documents are a row each, and held.jsonl."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("text")
    for name, count in (("train", ROWS), ("held", 2)):
        documents = ("".join(rng.choice(list("abcdefgh"), 14)) for _ in range(count))
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": d}) + "\n" for d in documents))
    return folder


class Parts(NamedTuple):
    """What a process makes before its first step."""
    config: Any
    model: Any
    objective: Any
    rule: tuple        # optimizer and schedule
    strategy: step.Strategy
    batches: loader.Batches


def parts(text, process=0, processes=1):
    """A masked model whose masks are new in each epoch, in two accumulated pieces."""
    config = run.complete(dict(
        seed=3, data=dict(path=str(text / "train.jsonl"), validation_path=str(text / "held.jsonl")),
        tokenizer=dict(name="bytes"),
        model=dict(name="transformer", context=16, width=16, layers=1, heads=2, attends="full", dropout=0.1),
        objective=dict(name="masked", rate=0.3), optimizer=dict(name="adamw", rate=0.01, warmup=2),
        train=dict(steps=STEPS, batch=BATCH, accumulation=2, save_every=1, keep=9, ledger=True, log_every=1,
                   windows="packed"), mesh=dict(data=2)), {})
    data = run.prepare(config)
    model = run.build_model(config, data.tokenizer.vocab_size)
    objective = run.build_objective(config, data.tokenizer.vocab_size)
    rule = optimizer.build(steps=STEPS, **config.optimizer)
    strategy = step.make_strategy("jit", model, run.initialiser(config, model), objective, *rule,
                                  sharding.make_mesh(2, devices=jax.devices()[:2]), seed=config.seed, accumulation=2)
    return Parts(config, model, objective, rule, strategy, run.train_batches(config, data, process, processes))


def live(made, folder, until=STEPS):
    """The life of a process: from the last checkpoint on, until it has taken step `until`. Returns the texts that its
    steps read, what was masked put back."""
    strategy, read = made.strategy, []

    def advance(state, batch):
        if int(state["step"]) == until:
            raise Killed
        read.extend(map(bytes, np.where(batch["weights"] > 0, batch["targets"], batch["tokens"]).astype(np.uint8)))
        return strategy.step(state, batch)
    start = checkpoint.newest(folder / "checkpoints", repair=True)
    state = strategy.init() if start is None else strategy.place(
        checkpoint.restore(folder / "checkpoints", start, strategy.target))
    log, saved = RunLog(folder, start=start or 0, steps=STEPS), checkpoint.Checkpoints(folder / "checkpoints", keep=9)
    try:
        with StopSignals() as stop:
            loop.train(strategy._replace(step=advance), state, made.batches, saved, log, eval_every=100, stop=stop,
                       settings=loop.Settings(**made.config.train), evaluate=lambda *_: {})
    except Killed:
        pass
    finally:
        saved.close()
        log.close()
    return read


@pytest.fixture(scope="module")
def made(text, eight):
    """The parts, made once."""
    return parts(text)


@pytest.fixture(scope="module")
def lives(made, tmp_path_factory):
    """(folder of a run that was never stopped, folder of one that had four lives, the texts which that one read)."""
    whole, cut = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("cut")
    live(made, whole)
    return whole, cut, [text for until in (*CUTS, STEPS) for text in live(made, cut, until)]


def read(folder):
    """The rows that each step took: a list of steps, each a list of [number, epoch, digest]."""
    lines = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    return [list(line["rows"].values()) for line in lines]


def saved(folder, number, made):
    """The state of a checkpoint."""
    return jax.device_get(checkpoint.restore(folder / "checkpoints", number, made.strategy.target))


def test_fast_forward_that_forgets_accumulation(lives):
    """gpt-neox #308: after a resume the data went on from batch `step`, not `step x accumulation`.

    By the content of what the steps were given: every text once an epoch, whoever read it.
    """
    texts = lives[2]
    epochs = [texts[i:i + ROWS] for i in range(0, STEPS * BATCH - ROWS + 1, ROWS)]
    assert len(texts) == STEPS * BATCH and len(epochs) == 3 and len(set(texts)) == ROWS
    assert all(len(set(epoch)) == ROWS for epoch in epochs)


def test_an_epoch_that_begins_anew_on_a_resume(lives):
    """accelerate #4071: the epoch was 0 again, and with it order and masks.

    A resume just before the batch that holds the end of an epoch, one just after it: content and all as never stopped.
    """
    whole, cut = map(read, lives[:2])
    assert {epoch for _, epoch, _ in whole[2]} == {0, 1} and CUTS[:2] == (2, 3)
    assert cut == whole
    masks = {(number, digest) for taken in whole for number, _, digest in taken}
    assert len(masks) == STEPS * BATCH  # no row is masked twice alike, so that another epoch would show


def test_a_second_resume_that_starts_over(lives, made, assert_same):
    """torchtitan #3907: the first resume was right, and the second one began at step 0 again."""
    for number in range(1, STEPS + 1):
        assert_same(*(saved(folder, number, made) for folder in lives[:2]))


def test_an_optimizer_step_that_a_resume_drops(lives, made, assert_close):
    """Megatron-Bridge #3832: Adam's count, and so its bias correction, was one behind after a resume.

    Against the same updates by hand, in memory, from gradients of a plain loop; and the count in every checkpoint.
    """
    state = jax.device_get(made.strategy.init())
    bare = jax.jit(step.make_update(made.model, made.objective, *made.rule, seed=made.config.seed))
    for i in range(STEPS):
        state, _ = bare(state, made.batches[i])
        adam = saved(lives[1], i + 1, made)["opt_state"]
        counts = [int(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(adam) if "count" in str(path[-1])]
        assert counts and set(counts) == {i + 1}
    assert_close(saved(lives[1], STEPS, made)["params"], state["params"], 1e-4)  # Adam magnifies what rounds near 0


def test_a_world_of_another_size_in_the_middle_of_an_epoch(text):
    """transformers #40245: the sampler was cut by the number of processes, and a resume with another lost rows."""
    rows, i = [], 0
    for processes, steps in ((1, 2), (4, 1), (2, 4), (8, 1), (1, 2)):
        shares = [parts(text, process, processes).batches for process in range(processes)]
        for i in range(i, i + steps):
            rows += [(int(n), int(e)) for share in shares for n, e in zip(*share.records(i), strict=True)]
        i += 1
    assert len(rows) == 10 * BATCH
    for epoch in range(len(rows) // ROWS):
        assert sorted(rows[epoch * ROWS:(epoch + 1) * ROWS]) == [(number, epoch) for number in range(ROWS)]


# --- the step ---

@pytest.mark.parametrize("kind", ["gpt2", "gemma"])
def test_attention_across_packed_documents(kind, packed, lively, assert_close):
    """maxtext #4476, #878: a document saw the one before it in its row, and both loss and gradients were off.

    Against each document in a row of its own.
    """
    model = kinds.initial(kind)[0]
    params = lively(nn.meta.unbox(kinds.initial(kind)[1]))
    together, documents = packed(5, 16, 37, padding=1)
    pieces = [piece for row in documents for piece in row]
    alone = {name: np.zeros((len(pieces), 16), value.dtype) for name, value in together.items() if name != "row"}
    for b, piece in enumerate(pieces):
        n = len(piece) - 1
        values = dict(tokens=piece[:-1], targets=piece[1:], segments=1, positions=np.arange(n), weights=1)
        for name, value in values.items():
            alone[name][b, :n] = value
    assert len(pieces) > len(documents)

    def loss(params, batch):
        total, weight = objectives.build("causal", vocab_size=37)(model.apply, params, batch, None)[0]["loss"]
        return total / weight
    result, expected = (jax.jit(jax.value_and_grad(loss))(params, {k: v for k, v in batch.items() if k != "row"})
                        for batch in (together, alone))
    assert_close(result, expected, 1e-5)


def steps_of(model, params, batch, accumulation, count=3):
    """Parameters and metrics after `count` clipped Adam steps on one batch."""
    rule, schedule = optimizer.build(steps=10, rate=0.01, warmup=1, clip=0.5)
    update = jax.jit(step.make_update(model, objectives.build("causal", vocab_size=37), rule, schedule, seed=0,
                                      accumulation=accumulation))
    state = {"params": params, "opt_state": rule.init(params), "step": jnp.int32(0), "extra": step.memory()}
    for _ in range(count):
        state, metrics = update(state, batch)
    return state["params"], metrics


def test_a_short_last_window_of_accumulation(packed, lively, assert_close):
    """transformers #34191, #37766, ms-swift #10084: pieces counted alike, though the last held few tokens, or none.

    Pieces of 62, 32, 1 and 0 tokens, against one batch of the rows that hold any, over three clipped Adam steps.
    """
    model, params = kinds.initial("gpt2")[0], lively(nn.meta.unbox(kinds.initial("gpt2")[1]), 0.1)
    batch, _ = packed(8, 16, 37)
    for row, kept in {1: 16, 2: 1, 5: 16, 6: 0, 3: 0, 7: 0}.items():  # piece j holds rows j and j + 4
        for name in ("tokens", "targets", "segments", "positions", "weights"):
            batch[name][row, kept:] = 0
    tokens = batch["weights"].reshape(2, 4, 16).sum((0, 2))
    assert tokens[0] > 20 and tokens[2:].tolist() == [1, 0]
    there = np.flatnonzero(batch["weights"].any(1))
    expected = steps_of(model, params, {name: value[there] for name, value in batch.items()}, 1)
    assert_close(steps_of(model, params, batch, 4), expected, 5e-5)  # Adam magnifies what rounds near 0


@jax.custom_vjp
def poison(x, here):
    """x; its gradient is not a number where `here` is true."""
    return x


poison.defvjp(lambda x, here: (x, here), lambda here, g: (jnp.where(here, jnp.nan, g), None))


@pytest.mark.parametrize("parallel", ["jit", "pmap"])
def test_a_nan_that_passes_the_guard(parallel, packed, eight, assert_same):
    """epfLLM/Megatron #33: the loss was finite and the gradient was not, on one device, and the step was taken.

    One row of one piece, on one of four devices, gives such a gradient.
    """
    model = kinds.initial("gpt2")[0]
    plain = objectives.build("causal", vocab_size=37)

    def objective(apply, params, batch, keys_B=None):
        terms, metrics = plain(apply, params, batch, keys_B)
        total, weight = terms["loss"]
        return {"loss": (poison(total, (batch["tokens"] == 35).any()), weight)}, metrics
    rule = optimizer.build(steps=10, warmup=1)
    strategy = step.make_strategy(parallel, model, functools.partial(transformer.init, model), objective, *rule,
                                  sharding.make_mesh(4, devices=eight[:4]), seed=0, accumulation=2)
    good = {**packed(8, 16, 37)[0]}
    good["tokens"] = np.minimum(good["tokens"], 34)
    bad = {**good, "tokens": good["tokens"].copy()}
    bad["tokens"][5, 0] = 35
    state, _ = strategy.step(strategy.init(), strategy.put(good))
    before = jax.device_get(strategy.collect(state))
    state, metrics = strategy.step(state, strategy.put(bad))
    after = jax.device_get(strategy.collect(state))
    assert np.isfinite(metrics["loss"]) and not np.isfinite(metrics["grad_norm"]) and metrics["skipped"] == 1
    assert_same([after["params"], after["opt_state"]], [before["params"], before["opt_state"]])
    state, metrics = strategy.step(state, strategy.put(good))
    assert metrics["skipped"] == 0 and strategy.collect(state)["extra"]["guard"]["skipped"] == 1


# --- checkpoints ---

def large(number):
    """A state that does not fit into 8 kB."""
    return {"params": {"w": jax.random.normal(jax.random.key(number), (64, 64))}, "opt_state": (), "extra": {},
            "step": jnp.int32(number)}


@contextlib.contextmanager
def small_files():
    """No file may grow over 8 kB: a write past that fails, in whatever thread."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("by", ["poll", "save", "wait", "close"])
def test_an_error_of_a_background_save_that_nobody_hears_of(by, tmp_path):
    """orbax #605: the write failed in its thread, and the run ended as if all had been saved.

    The error is raised by whatever is called next, the last call of all included; the save before it is whole.
    """
    saved = checkpoint.Checkpoints(tmp_path)
    saved.save(1, large(1))
    saved.wait()
    with pytest.raises(UserError, match="checkpoint 2 in .* could not be saved"), small_files():
        saved.save(2, large(2))
        until = time.monotonic() + 60
        while by == "poll" and time.monotonic() < until:
            saved.poll()
        {"save": lambda: saved.save(3, large(3)), "wait": saved.wait, "close": saved.close, "poll": int}[by]()
    if by != "close":
        saved.close()
    assert checkpoint.newest(tmp_path, log=str) == 1 and checkpoint.damage(tmp_path / "1") is None


def test_a_latest_step_that_is_stale(tmp_path):
    """maxtext #5260: who asked for the latest step while one was being saved was told of one before, or of half a one.

    Here the answer is the step before until the new one is whole, and the new one as soon as its save has ended.
    """
    saved = checkpoint.Checkpoints(tmp_path, keep=9)
    for number in range(1, 6):
        saved.save(number, large(number))
        answers, ended = [], False
        while not ended:
            ended = saved._pending.done()
            answers.append(checkpoint.newest(tmp_path, log=str) or 0)
            assert answers[-1] == 0 or checkpoint.damage(tmp_path / str(answers[-1])) is None
        saved.wait()
        assert set(answers) <= {number - 1, number} and answers == sorted(answers) and answers[-1] == number
    saved.close()
