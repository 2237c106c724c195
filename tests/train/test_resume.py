"""Stopped and resumed is as if never stopped: bit for bit, with dropout, packing and accumulation on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from lmlab import run
from lmlab.train import checkpoint, loop, optimizer, sharding, step
from lmlab.utils.logs import CLOCKS, RunLog, read_metrics
from lmlab.utils.process import StopSignals

ROOT = Path(__file__).parents[2]
STEPS = 7


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A file of 120 documents of 1 to 30 words."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefgh"), n)) for n in rng.integers(1, 7, 50)]
    path = tmp_path_factory.mktemp("text") / "documents.jsonl"
    path.write_text("".join('{"text": "%s"}\n' % " ".join(rng.choice(words, n)) for n in rng.integers(1, 30, 120)))
    return path


KINDS = {  # objective: (its settings, the model's)
    "causal": (dict(), dict(positions="rotary")),
    "masked": (dict(pairs="sentence_order", rate=0.3), dict(attends="full", token_types=2, pooler=True)),
    "span_corruption": (dict(rate=0.3), dict(encoder_layers=1, positions="relative", experts=3)),
}


def config_of(text, kind):
    """Muon, dropout, packed windows, two accumulated pieces, batches that grow."""
    objective, model = KINDS[kind]
    return run.complete(dict(
        seed=11, data=dict(path=str(text)), tokenizer=dict(name="bytes"),
        model=dict(name="transformer", context=24, width=16, layers=2, heads=2, dropout=0.2, unroll=1, **model),
        objective=dict(name=kind, **objective),
        optimizer=dict(name="muon", rate=0.02, adam_rate=0.01, schedule="wsd", warmup=2),
        train=dict(steps=STEPS, batch=8, ramp=3, ramp_from=4, accumulation=2, windows="packed", log_every=1,
                   ledger=True),
        mesh=dict(data=2), evals=dict()), {})


def session(text, folder, stop_at=None, kind="causal"):
    """Everything anew, as a new process would: config, data, model, strategy, checkpoints. Returns (state, report)."""
    config = config_of(text, kind)
    settings = loop.Settings(**config.train)
    data = run.prepare(config)
    model = run.build_model(config, data.tokenizer.vocab_size)
    mesh = sharding.make_mesh(**config.mesh, devices=jax.devices()[:2])
    strategy = step.make_strategy("jit", model, run.initialiser(config, model), run.build_objective(
                                      config, data.tokenizer.vocab_size),
                                  *optimizer.build(steps=STEPS, **config.optimizer), mesh,
                                  seed=config.seed, accumulation=settings.accumulation)
    batches = run.train_batches(config, data)
    if stop_at is not None:
        inner, advance = strategy.step, lambda state, batch: stop_after(inner(state, batch), stop_at)
        strategy = strategy._replace(step=advance)
    start = checkpoint.newest(folder / "checkpoints", repair=True)
    state = strategy.init() if start is None else strategy.place(
        checkpoint.restore(folder / "checkpoints", start, strategy.target))
    log = RunLog(folder, start=start or 0, steps=STEPS)
    checkpoints = checkpoint.Checkpoints(folder / "checkpoints", keep=settings.keep)
    with StopSignals() as stop:
        state, report = loop.train(strategy, state, batches, checkpoints, log, settings=settings, eval_every=100,
                                   evaluate=lambda step, params: {}, stop=stop)
    checkpoints.close()
    log.close()
    return state, report


def stop_after(result, stop_at):
    """Sends this process a SIGTERM once step `stop_at` is done."""
    if int(result[0]["step"]) == stop_at:
        os.kill(os.getpid(), signal.SIGTERM)
    return result


def story(folder):
    """What metrics.jsonl tells of each step, clocks apart."""
    return [{k: v for k, v in row.items() if k not in CLOCKS} for row in read_metrics(folder) if "loss" in row]


def test_n_steps_are_k_steps_then_n_minus_k(text, eight, tmp_path, assert_same):
    whole, _ = session(text, tmp_path / "whole")
    for cut in (1, 4):
        _, report = session(text, tmp_path / "cut", stop_at=cut)
        assert report.stopped and report.step == cut
    state, report = session(text, tmp_path / "cut")
    assert report.step == STEPS
    assert_same(state, whole)  # parameters, both of Muon's optimizers, step
    assert story(tmp_path / "cut") == story(tmp_path / "whole")
    ledgers = [(tmp_path / name / "ledger.jsonl").read_text() for name in ("cut", "whole")]
    assert ledgers[0] == ledgers[1] and ledgers[0].count("\n") == STEPS
    assert len({row["loss"] for row in story(tmp_path / "cut")}) == STEPS


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["masked", "span_corruption"])
def test_so_it_is_for_an_encoder_and_an_encoder_decoder(kind, text, eight, tmp_path, assert_same):
    whole, _ = session(text, tmp_path / "whole", kind=kind)
    session(text, tmp_path / "cut", stop_at=3, kind=kind)
    assert_same(session(text, tmp_path / "cut", kind=kind)[0], whole)
    assert story(tmp_path / "cut") == story(tmp_path / "whole")


def command(text, workdir, steps):
    """The command line of a small run that saves every step."""
    sets = {"data.path": text, "train.steps": steps, "train.save_every": 1, "train.windows": "packed", "train.keep": 3,
            "train.accumulation": 2, "model.dropout": 0.1, "evals.samples": 0, "evals.baselines": False}
    return [sys.executable, "-m", "experiments.train", "--config=configs/gpt.py:tiny", f"--workdir={workdir}",
            *(f"--config.{name}={value}" for name, value in sets.items())]


@pytest.mark.slow
def test_kill_9_at_any_moment_then_resume_is_exact(text, tmp_path, assert_same):
    steps, environment = 40, {**os.environ, "XLA_FLAGS": ""}
    subprocess.run(command(text, tmp_path / "whole", steps), cwd=ROOT, env=environment, check=True, capture_output=True)
    rng = np.random.default_rng(0)
    folder = tmp_path / "killed"
    kills = 0
    for after in (3, 12, 24):
        process = subprocess.Popen(command(text, folder, steps), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        until = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < until and not any(
                row["step"] >= after for row in read_metrics(folder)):
            time.sleep(0.01)
        time.sleep(rng.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills == 3
    subprocess.run(command(text, folder, steps), cwd=ROOT, env=environment, check=True, capture_output=True)
    assert_same(*(checkpoint.restore_params(f / "checkpoints", steps) for f in (folder, tmp_path / "whole")))
    assert story(folder) == story(tmp_path / "whole")
