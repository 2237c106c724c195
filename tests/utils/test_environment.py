"""What run.json says of machine and code."""

import json
import platform
import subprocess

import jax

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


def test_the_compilation_cache_is_on_and_can_be_moved(monkeypatch, tmp_path):
    before = {name: getattr(jax.config, name) for name in (
        "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes")}
    try:
        monkeypatch.setenv("LMLAB_CACHE", str(tmp_path))
        monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        environment.set_up_jax()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "xla")
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/elsewhere")
        jax.config.update("jax_compilation_cache_dir", "/elsewhere")
        environment.set_up_jax()
        assert jax.config.jax_compilation_cache_dir == "/elsewhere"
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
