"""What run.json says of machine and code."""

import json
import platform
import subprocess

import jax
import pytest

from commands import REPOSITORY
from lmlab.utils import environment


def test_describe_is_json_and_true():
    described = json.loads(json.dumps(environment.describe()))
    assert described["python"] == platform.python_version()
    assert described["versions"]["jax"] == jax.__version__ and all(described["versions"].values())
    assert described["devices"]["count"] == jax.device_count()
    done = subprocess.run(["git", "-C", str(REPOSITORY), "rev-parse", "HEAD"], capture_output=True, text=True)
    assert described["git_commit"] == (done.stdout.strip() if done.returncode == 0 else "")


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert environment._git("rev-parse", "HEAD") == ""


@pytest.fixture
def settings():
    """JAX's settings, as they were again afterwards."""
    before = {name: getattr(jax.config, name) for name in (
        "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes", "jax_optimization_level")}
    yield jax.config
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_compilation_cache_is_on_and_can_be_moved(monkeypatch, tmp_path, settings):
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    environment.set_up_jax()
    assert settings.jax_compilation_cache_dir == str(tmp_path / "xla")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/elsewhere")
    settings.update("jax_compilation_cache_dir", "/elsewhere")
    environment.set_up_jax()
    assert settings.jax_compilation_cache_dir == "/elsewhere"


@pytest.mark.parametrize("env,level", [
    ({"CUDA_VISIBLE_DEVICES": ""}, "UNKNOWN"), ({"CUDA_VISIBLE_DEVICES": "0"}, "UNKNOWN"),
    ({"CUDA_VISIBLE_DEVICES": "0,1"}, "O1"), ({"CUDA_VISIBLE_DEVICES": "0", "JAX_COORDINATOR_ADDRESS": "a:1"}, "O1"),
    ({"CUDA_VISIBLE_DEVICES": "", "JAX_COORDINATOR_ADDRESS": "a:1"}, "UNKNOWN"),
    ({"CUDA_VISIBLE_DEVICES": "0,1", "XLA_FLAGS": "--xla_cpu_enable_fast_math=false"}, "UNKNOWN")])
def test_communication_is_hidden_on_several_gpus_unless_told_otherwise(env, level, monkeypatch, settings):
    for name in ("XLA_FLAGS", "JAX_COORDINATOR_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**env, "JAX_COMPILATION_CACHE_DIR": "as it is"}.items():
        monkeypatch.setenv(name, value)
    environment.set_up_jax()
    assert settings.jax_optimization_level == level
    assert jax.jit(lambda x: x + 1)(1) == 2  # XLA takes the level
    settings.update("jax_optimization_level", "O2")
    environment.set_up_jax()
    assert settings.jax_optimization_level == "O2"


@pytest.mark.parametrize("devices,env,flags,threads", [
    (1, {}, "", None), (8, {}, "--xla_cpu_enable_concurrency_optimized_scheduler=false", "32"),
    (1, {"JAX_COORDINATOR_ADDRESS": "a:1"}, "--xla_cpu_enable_concurrency_optimized_scheduler=false", None),
    (8, {"NPROC": "9", "XLA_FLAGS": "--a=1"}, "--a=1 --xla_cpu_enable_concurrency_optimized_scheduler=false", "9"),
    (8, {"XLA_FLAGS": "--xla_cpu_enable_concurrency_optimized_scheduler=true"},
     "--xla_cpu_enable_concurrency_optimized_scheduler=true", "32")])
def test_cpu_devices_meet_in_one_order_unless_told_otherwise(devices, env, flags, threads, monkeypatch):
    for name in ("XLA_FLAGS", "NPROC", "JAX_COORDINATOR_ADDRESS"):
        monkeypatch.setenv(name, "")  # what is set below is unset again
        monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(environment.os, "cpu_count", lambda: 2)
    environment.let_meet(devices)
    assert (environment.os.environ.get("XLA_FLAGS", ""), environment.os.environ.get("NPROC")) == (flags, threads)
