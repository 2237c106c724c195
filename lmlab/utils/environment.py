"""The machine and the code behind a run: devices, versions, command, git state; and settings of JAX for every verb."""

import importlib.metadata
import os
import platform
import subprocess
import sys

import lmlab
from lmlab.utils.files import cache_dir

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def set_up_jax():
    """Turns on the persistent compilation cache, in the user's cache folder (JAX_COMPILATION_CACHE_DIR overrides)."""
    import jax
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def describe() -> dict:
    """What is needed to run this again: command, git commit and difference, versions, devices."""
    import jax
    devices = jax.devices()
    return {"command": [sys.executable, *sys.argv], "git_commit": _git("rev-parse", "HEAD"),
            "git_diff": _git("diff", "HEAD"), "python": platform.python_version(), "platform": platform.platform(),
            "cpus": os.cpu_count(), "versions": {"lmlab": lmlab.__version__, **{p: _version(p) for p in PACKAGES}},
            "devices": {"kind": devices[0].device_kind, "platform": devices[0].platform, "count": len(devices),
                        "processes": jax.process_count()}}


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*words):
    """What git says of the folder of this code; "" where there is no git or no repository."""
    try:
        done = subprocess.run(["git", "-C", os.path.dirname(__file__), *words], capture_output=True, text=True,
                              timeout=10, errors="replace")
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
