"""The loop on a toy strategy: what is logged, evaluated and saved when, and what a signal does."""

import os
import signal
import time

import jax
import numpy as np
import pytest

from lmlab.train import checkpoint, loop, progress
from lmlab.train.step import Strategy
from lmlab.utils.errors import UserError
from lmlab.utils.logs import RunLog, read_metrics
from lmlab.utils.process import StopSignals


class Batches:
    """Batch i is the number i; remembers which were asked for."""

    def __init__(self):
        self.asked = []

    def __getitem__(self, i):
        self.asked.append(i)
        return {"x": np.float64(i)}


def toy(on_step=lambda step: None):
    """A strategy on plain numbers: w becomes w / 2 + x + step; the loss is x, the batch has step + 1 tokens."""
    def step(state, batch):
        i = int(state["step"])
        on_step(i)
        new = {**state, "params": {"w": state["params"]["w"] / 2 + batch["x"] + i}, "step": np.int64(i + 1)}
        return new, {"loss": np.float64(batch["x"]), "rate": 0.5 ** i, "tokens": np.float64(i + 1)}

    init_params = lambda: {"w": np.zeros(3)}
    init = lambda: {"params": init_params(), "opt_state": {"m": np.ones(2)}, "step": np.int64(0),
                    "extra": {"progress": progress.new()}}
    return Strategy(step=step, init=init, init_params=init_params, put=lambda batch: batch, place=lambda state: state,
                    collect=lambda state: state, target=None)


def train(folder, strategy=None, state=None, batches=None, evaluate=None, eval_every=100, ceiling=0.0, best="loss",
          **settings):
    """loop.train in `folder`; returns (state, report, metrics rows)."""
    strategy, settings = strategy or toy(), loop.Settings(**{"steps": 6, "log_every": 1, "keep": 9, **settings})
    state = state or strategy.init()
    log = RunLog(folder, start=int(state["step"]), steps=settings.steps)
    checkpoints = checkpoint.Checkpoints(folder / "checkpoints", keep=settings.keep, keep_every=settings.keep_every)
    try:
        with StopSignals() as stop:
            state, report = loop.train(strategy, state, batches or Batches(), checkpoints, log, settings=settings,
                                       eval_every=eval_every, evaluate=evaluate or (lambda step, params: {}), stop=stop,
                                       evals=loop.Evals(best=best), ceiling=ceiling)
        checkpoints.close()
    finally:
        log.close()
    return state, report, read_metrics(folder)


def test_every_step_is_taken_once_and_logged(tmp_path):
    batches = Batches()
    state, report, rows = train(tmp_path, batches=batches)
    assert batches.asked == [0, 1, 2, 3, 4, 5] and state["step"] == report.step == 6 and not report.stopped
    rows = [r for r in rows if "loss" in r]
    assert [(r["step"], r["loss"], r["rate"]) for r in rows] == [(i + 1, i, 0.5 ** i) for i in range(6)]
    assert [r["tokens_seen"] for r in rows] == [1, 3, 6, 10, 15, 21]
    assert "tokens_per_second" not in rows[0] and all(r["tokens_per_second"] > 0 for r in rows[1:])
    assert [r["seconds"] for r in rows] == sorted(r["seconds"] for r in rows)
    assert report.compile_seconds > 0


def test_a_logged_row_is_the_mean_over_tokens_since_the_last(tmp_path):
    _, _, rows = train(tmp_path, steps=7, log_every=3)
    rows = {r["step"]: r for r in rows if "loss" in r}
    mean = lambda *steps: sum(i * (i + 1) for i in steps) / sum(i + 1 for i in steps)
    assert list(rows) == [1, 3, 6, 7]  # the first alone: it holds the compilation
    assert [rows[s]["loss"] for s in rows] == pytest.approx([0, mean(1, 2), mean(3, 4, 5), 6])
    assert rows[6]["rate"] == 0.5 ** 5 and rows[7]["tokens_seen"] == 28


def test_evaluations_come_first_and_last_and_as_often_as_asked(tmp_path):
    seen = []

    def evaluate(step, params):
        seen.append((step, float(params["w"][0])))
        return {"val_loss": {0: 3.0, 4: 1.0}.get(step, 2.0)}
    state, report, rows = train(tmp_path, steps=9, evaluate=evaluate, eval_every=4, keep=1)
    w = [0.0]
    for i in range(9):
        w.append(w[-1] / 2 + 2 * i)
    assert seen == [(s, w[s]) for s in (0, 4, 8, 9)]
    assert {r["step"]: r["val_loss"] for r in rows if "val_loss" in r} == {0: 3.0, 4: 1.0, 8: 2.0, 9: 2.0}
    assert report.scores == {"val_loss": 2.0}
    assert checkpoint.good_steps(tmp_path / "checkpoints") == [4, 9]  # the best and the newest
    np.testing.assert_array_equal(checkpoint.restore_params(tmp_path / "checkpoints", 4)["w"], w[4])


@pytest.mark.parametrize("settings,steps", [
    (dict(), [6]), (dict(save_every=2), [2, 4, 6]), (dict(save_every=2, keep=1), [6]),
    (dict(save_every=1, keep=2, keep_every=3), [3, 5, 6])])
def test_what_is_saved_and_kept(settings, steps, tmp_path):
    train(tmp_path, **settings)
    assert checkpoint.good_steps(tmp_path / "checkpoints") == steps


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_after_the_step_under_way_and_resume_makes_it_whole(number, tmp_path, assert_same):
    before = signal.getsignal(number)
    whole, _, whole_rows = train(tmp_path / "whole")
    cut = toy(on_step=lambda i: os.kill(os.getpid(), number) if i == 2 else None)
    state, report, _ = train(tmp_path / "cut", cut)
    assert report.stopped and report.step == state["step"] == 3 and signal.getsignal(number) is before
    saved = tmp_path / "cut" / "checkpoints"
    assert checkpoint.newest(saved) == 3

    target = jax.tree.map(np.zeros_like, state)
    state = checkpoint.restore(saved, 3, target)
    batches = Batches()
    state, report, rows = train(tmp_path / "cut", state=state, batches=batches)
    assert batches.asked == [3, 4, 5] and report.step == 6 and not report.stopped
    assert_same(state, whole)
    told = lambda rows: [(r["step"], r["loss"], r["tokens_seen"]) for r in rows if "loss" in r]
    assert told(rows) == told(whole_rows)


@pytest.mark.parametrize("at", [0, 2, 3, 5])
def test_an_evaluation_that_a_signal_kept_from_being_made_is_made_on_the_resume(at, tmp_path):
    """In the step before it (at 3, 5), and for step 0, which is evaluated after the first step (at 0)."""
    def run(folder, strategy=None, **more):
        seen = []

        def evaluate(step, params):
            seen.append((step, float(params["w"][0])))
            return {"val_loss": 1.0}
        return *train(folder, strategy, evaluate=evaluate, eval_every=2, **more)[:2], seen

    _, _, whole = run(tmp_path / "whole")
    cut = toy(on_step=lambda i: os.kill(os.getpid(), signal.SIGTERM) if i == at else None)
    state, report, before = run(tmp_path / "cut", cut)
    assert report.stopped and report.step == at + 1
    _, report, after = run(tmp_path / "cut", state=state)
    assert not report.stopped and sorted(before + after) == whole


def test_a_signal_ends_an_evaluation_at_once(tmp_path):
    def evaluate(step, params):
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("the evaluation goes on")
        return {}
    _, report, _ = train(tmp_path, evaluate=evaluate, eval_every=2)
    assert report.stopped and report.step == 4 and checkpoint.newest(tmp_path / "checkpoints") == 4


def test_a_second_signal_acts_at_once(tmp_path):
    def twice(i):
        if i == 2:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("the second Ctrl-C did nothing")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, toy(on_step=twice))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_in_the_data_surfaces_where_its_batch_was_due(tmp_path):
    class Broken(Batches):
        def __getitem__(self, i):
            if i == 3:
                raise OSError("bad disk")
            return super().__getitem__(i)
    done = []
    with pytest.raises(OSError, match="bad disk"):
        train(tmp_path, toy(on_step=done.append), batches=Broken())
    assert done == [0, 1, 2]


def test_a_finished_run_takes_no_step(tmp_path):
    state, _, rows = train(tmp_path)
    batches = Batches()
    again, report, rows_again = train(tmp_path, state=state, batches=batches)
    assert batches.asked == [] and report.step == 6 and rows_again == rows and again is state


class Later:
    """A number that a device will have computed at a moment to come."""

    def __init__(self, value, ready):
        self.value, self.ready = value, ready

    def block_until_ready(self):
        time.sleep(max(0.0, self.ready - time.monotonic()))
        return self

    def __float__(self):
        return float(self.block_until_ready().value)


def slow(step=0.0, dispatch=0.0):
    """`toy`, whose steps take `dispatch` seconds of the host and then `step` of a device, one after the other."""
    plain, free = toy(), [0.0]

    def run(state, batch):
        time.sleep(dispatch)
        state, metrics = plain.step(state, batch)
        free[0] = max(free[0], time.monotonic()) + step
        return state, {name: Later(value, free[0]) for name, value in metrics.items()}
    return plain._replace(step=run)


class Slow(Batches):
    """Batches that take `seconds` each."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def __getitem__(self, i):
        time.sleep(self.seconds)
        return super().__getitem__(i)


@pytest.mark.parametrize("batch,host,device,low,high", [
    (0.05, 0, 0, 0.7, 1), (0, 0.05, 0, 0, 0.3), (0, 0, 0.05, 0, 0.3), (0.08, 0, 0.05, 0.2, 0.7)],
    ids=["input", "host", "device", "both"])
def test_waiting_for_input_is_the_time_with_no_step_under_way(batch, host, device, low, high, tmp_path):
    """Of step and input together; where a batch takes 80 ms and the step before it 50, that is 30 of 80."""
    _, _, rows = train(tmp_path, slow(device, host), batches=Slow(batch), steps=10)
    spent = rows[-1]["spent"]
    assert low <= spent["input"] / (spent["input"] + spent["step"]) <= high
    assert sum(spent.values()) == pytest.approx(rows[-1]["seconds"], abs=0.01)
    shares = sorted(r["input_wait"] for r in rows if "input_wait" in r)
    assert len(shares) == 9 and low <= shares[4] <= high


def test_evaluations_and_saves_have_their_time(tmp_path, monkeypatch):
    save = checkpoint.Checkpoints.save
    monkeypatch.setattr(checkpoint.Checkpoints, "save", lambda *args: (time.sleep(0.2), save(*args)))
    _, _, rows = train(tmp_path, slow(0.05), evaluate=lambda step, params: time.sleep(0.3) or {"val_loss": 1.0},
                       eval_every=3, steps=6)
    spent = rows[-1]["spent"]   # of the last evaluation, before the save that follows it
    assert spent["evaluation"] > 0.8 and spent["checkpoint"] > 0.18 and 0.2 < spent["step"] < spent["evaluation"]
    assert spent["compile"] > 0.04 and spent["input"] < spent["step"]


def test_throughput_is_told_as_a_share_of_the_peak_only_where_that_is_known(tmp_path):
    rows = {ceiling: train(tmp_path / str(ceiling), slow(0.01), ceiling=ceiling)[2] for ceiling in (0.0, 500.0)}
    assert not any("mfu" in row for row in rows[0.0])
    told = [row for row in rows[500.0] if "tokens_per_second" in row]
    assert len(told) == 5 and all(row["mfu"] == pytest.approx(row["tokens_per_second"] / 500) for row in told)


@pytest.mark.parametrize("settings,message", [
    (dict(steps=-1), "config.train.steps=-1 must be at least 1"),
    (dict(batch=0), "config.train.batch=0 must be at least 1"),
    (dict(precision="float16"), "config.train.precision='float16' is unknown; one of float32, bfloat16"),
    (dict(windows="pack"), "config.train.windows='pack' is unknown; one of stream, packed"),
    (dict(parallel="pjit"), "config.train.parallel='pjit' is unknown; one of jit, pmap"),
    (dict(log_every=0), "config.train.log_every=0 must be at least 1"),
    (dict(batch=24, ramp=9, ramp_from=4), "config.train.ramp_from=4, doubled again and again, does not become config"),
    (dict(batch=4, ramp=9, ramp_from=4), "config.train.ramp_from=4, doubled again and again, does not become config"),
])
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        loop.Settings(**settings)


def test_impossible_evaluations_are_refused():
    with pytest.raises(UserError, match="config.evals.temperature=-0.5 must not be negative"):
        loop.Evals(temperature=-0.5)
