"""The machine and the code behind a run: devices, versions, command, git state; and settings of JAX for every verb."""

import glob
import importlib.metadata
import os
import platform
import re
import subprocess
import sys

import lmlab
from lmlab.utils import processes
from lmlab.utils.files import cache_dir

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
CONCURRENT = "--xla_cpu_enable_concurrency_optimized_scheduler"


def set_up_jax():
    """Turns on the persistent compilation cache, in the user's cache folder (JAX_COMPILATION_CACHE_DIR overrides); on
    several GPUs also that compilers hide communication behind computation (XLA_FLAGS, JAX_OPTIMIZATION_LEVEL override).

    XLA's level O1 for GPUs is its latency-hiding scheduler, pipelined collectives and double buffering of loops. As a
    setting of JAX, unlike a flag in XLA_FLAGS, it cannot end the process where a version does not know it.
    """
    import jax
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    several = _gpus() > 1 or _gpus() and os.environ.get(processes.SIGNS[0])
    if several and "XLA_FLAGS" not in os.environ and jax.config.jax_optimization_level == "UNKNOWN":
        jax.config.update("jax_optimization_level", "O1")
    simulated = re.findall(r"--xla_force_host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    let_meet(max(jax.config.jax_num_cpu_devices, *map(int, simulated), 1))


def let_meet(devices: int):
    """Before JAX starts: lets CPU devices meet in collectives, `devices` simulated in each process (1: none is).

    They get threads enough (NPROC overrides): each holds one while it waits for the others, and with as many threads as
    cores several collectives at once wait for ever. And they come to collectives that do not need each other in one
    order (XLA_FLAGS overrides): XLA's schedule for concurrency leaves it to chance, and two that wait for each other in
    different ones wait for ever.
    """
    if devices > 1:
        os.environ.setdefault("NPROC", str(max(4 * devices, os.cpu_count())))
    flags = os.environ.get("XLA_FLAGS", "")
    if (devices > 1 or os.environ.get(processes.SIGNS[0])) and CONCURRENT not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {CONCURRENT}=false".strip()


def _gpus():
    """The NVIDIA GPUs that this process may use, counted without touching one: several processes must meet before."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return len(glob.glob("/dev/nvidia[0-9]*") if named is None else named.split(",") if named else [])


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
