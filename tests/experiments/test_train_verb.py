"""`train`: goes on where it stopped, says what changed, and loses nothing to Ctrl-C."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from commands import REPOSITORY, environment, quick, rewrite, snapshot, text, tiny, train_flags
from lmlab.train import checkpoint
from lmlab.utils import files
from lmlab.utils.logs import CLOCKS, read_metrics

ONE = {"XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
QUICK = ("--config.train.steps=6", "--config.evals.every=3")


@pytest.fixture
def copy(tmp_path):
    """The tiny run, to go on with; its text is where it was."""
    shutil.copytree(tiny() / "run", tmp_path / "run")
    return tmp_path / "run"


def test_a_run_is_whole():
    run = tiny() / "run"
    assert {p.name for p in run.iterdir() if not p.name.startswith("events")} == {
        ".lock", "checkpoints", "config.json", "metrics.jsonl", "plots", "run.json", "samples", "summary.json",
        "tokenizer"}
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["3", "6"]
    described = json.loads((run / "run.json").read_text("utf-8"))
    assert described["devices"]["count"] == 8 and described["versions"]["jax"] == jax.__version__
    assert any("--config=configs/gpt.py:tiny" in word for word in described["command"])
    assert described["earlier_sessions"] == []


def test_one_run_a_workdir(copy):
    before = snapshot(copy)
    with files.only_one(copy):
        done = quick(*train_flags(copy, tiny() / "text.txt", *QUICK))
    assert done.code == 1 and done.err.splitlines()[-1].startswith(f"error: {copy} is in use by another process")
    assert snapshot(copy) == before


def test_a_finished_run_is_not_harmed(copy):
    before = snapshot(copy)
    done = quick(*train_flags(copy, tiny() / "text.txt", *QUICK))
    assert done.code == 0 and "bits per byte" in done.out
    after = snapshot(copy)
    kept = [name for name in before if name.split("/")[0] in ("checkpoints", "samples", "tokenizer", "config.json")]
    assert len(kept) > 10 and all(after[name] == before[name] for name in kept)
    old, new = (json.loads(files["summary.json"]) for files in (before, after))
    alike = {"wall_seconds": 0, "goodput": {}, "sha256": ""}
    assert new | alike == old | alike


def test_more_steps_go_on_elsewhere_and_are_said(copy):
    """Written on eight devices, continued on one."""
    done = quick(*train_flags(copy, tiny() / "text.txt", "--config.train.steps=8", "--config.evals.every=3"), **ONE)
    assert done.code == 0, done.err
    assert "changed: config.train.steps: 6 in the run, 8 now" in done.err
    assert [row["step"] for row in read_metrics(copy) if "loss" in row] == list(range(1, 9))
    assert checkpoint.newest(copy / "checkpoints") == 8
    assert json.loads((copy / "config.json").read_text())["train"]["steps"] == 8
    assert json.loads((copy / "summary.json").read_text())["steps"] == 8


def test_other_text_under_the_same_name_is_refused(copy, tmp_path):
    (tmp_path / "text.txt").write_text(text(seed=1), "utf-8")
    rewrite(copy, str(tiny() / "text.txt"), str(tmp_path / "text.txt"))
    before = snapshot(copy)
    done = quick(*train_flags(copy, tmp_path / "text.txt", *QUICK))
    assert done.code == 1 and done.err.startswith("error: ") and done.err.count("\n") == 1, done.err
    assert "text.txt" in done.err and "other text" in done.err and snapshot(copy) == before


@pytest.mark.slow
def test_spikes_are_left_out_where_the_config_says_so(tmp_path):
    """A bound so low that after its first twenty steps about every loss over the mean is a spike."""
    for name, bound in (("off", 0.0), ("on", 0.001)):
        done = quick(*train_flags(tmp_path / name, tiny() / "text.txt", "--config.train.steps=40",
                                  "--config.evals.samples=0", f"--config.train.spikes={bound}",
                                  "--config.train.max_skips=40", "--config.optimizer.rate=1e-6",
                                  "--config.evals.baselines=false"), **ONE)
        assert done.code == 0, done.err
    skipped = {name: json.loads((tmp_path / name / "summary.json").read_text())["skipped_steps"]
               for name in ("off", "on")}
    assert skipped["off"] == 0 and 4 <= skipped["on"] <= 16
    assert done.err.count(" is left out: loss ") == skipped["on"]


def test_a_run_from_a_run_has_its_losses_bit_for_bit(tmp_path):
    done = quick("train", f"--from_run={tiny() / 'run'}", f"--workdir={tmp_path / 'again'}")
    assert done.code == 0, done.err
    assert f"losses   as in {tiny() / 'run'}, bit for bit, in all 9 rows that tell of the same steps" in done.out
    losses = [[{k: v for k, v in row.items() if k not in CLOCKS}
               for row in read_metrics(folder)] for folder in (tmp_path / "again", tiny() / "run")]
    assert losses[0] == losses[1]
    rewrite(tmp_path / "again", '"seed": 0', '"seed": 1')
    other = quick("train", f"--from_run={tmp_path / 'again'}", f"--workdir={tmp_path / 'other'}", **ONE)
    assert other.code == 0 and f"losses   not as in {tmp_path / 'again'}, from step 0 on: val_loss: " in other.out
    assert "devices.count: 8 there, 1 here" in other.out


@pytest.mark.parametrize("flags,message", [
    (["--from_run={tiny}"], "--workdir= is missing"),
    (["--from_run={tiny}", "--workdir={tiny}"], "brings its own config and fills a new --workdir"),
    (["--from_run={tiny}", "--config=configs/gpt.py:tiny", "--workdir={tmp}/x"], "brings its own config"),
    (["--from_run={tmp}/none", "--workdir={tmp}/x"], "none is no run folder")])
def test_a_run_that_cannot_be_run_again(flags, message, tmp_path):
    done = quick("train", *(flag.replace("{tiny}", str(tiny() / "run")).replace("{tmp}", str(tmp_path))
                            for flag in flags))
    assert done.code == 1 and message in done.err and done.err.count("\n") == 1 and not (tmp_path / "x").exists()


@pytest.mark.slow
def test_control_c_then_resume_is_bitwise_as_if_never_stopped(tmp_path):
    (tmp_path / "text.txt").write_text(text(), "utf-8")
    flags = lambda name: train_flags(tmp_path / name, tmp_path / "text.txt", "--config.train.steps=400",
                                     "--config.evals.every=400", "--config.model.dropout=0.1",
                                     "--config.train.accumulation=2", "--config.train.windows=packed")
    run = subprocess.Popen([sys.executable, "-m", "experiments.train", *flags("cut")[1:]], cwd=REPOSITORY,
                           env=environment(1), stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
    limit = time.monotonic() + 120
    while max((row["step"] for row in read_metrics(tmp_path / "cut")), default=0) < 40:
        assert run.poll() is None and time.monotonic() < limit
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=120)
    assert run.returncode == 0 and "Traceback" not in err
    stopped = re.search(r"stopped after step (\d+); go on with:\n  \./run\.sh train (.*)\n", out)
    assert 40 <= int(stopped[1]) < 400 and f"--workdir={tmp_path / 'cut'}" in stopped[2]
    assert checkpoint.newest(tmp_path / "cut" / "checkpoints") == int(stopped[1])
    for name in ("cut", "whole"):
        done = quick(*flags(name), **ONE)
        assert done.code == 0, done.err
    cut, whole = (checkpoint.restore_params(tmp_path / name / "checkpoints", 400) for name in ("cut", "whole"))
    assert jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a.view(np.uint32), b.view(np.uint32)), cut, whole))
    losses = [{row["step"]: row["loss"] for row in read_metrics(tmp_path / name) if "loss" in row}
              for name in ("cut", "whole")]
    assert losses[0] == losses[1] and sorted(losses[0]) == list(range(1, 401))


@pytest.mark.slow
def test_control_c_before_training_prints_the_command_too(tmp_path):
    (tmp_path / "text.txt").write_text(text(), "utf-8")
    flags = train_flags(tmp_path / "run", tmp_path / "text.txt")
    run = subprocess.Popen([sys.executable, "-m", "experiments.train", *flags[1:]], cwd=REPOSITORY, env=environment(1),
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
    limit = time.monotonic() + 60
    while not (tmp_path / "run" / "config.json").is_file():
        assert run.poll() is None and time.monotonic() < limit
        time.sleep(0.005)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert "Traceback" not in err and f"--workdir={tmp_path / 'run'}" in out + err
