"""What every test stands on: eight fake CPU devices, exact matrix products, a compilation cache, tiny packed batches.

LMLAB_TEST_PLATFORM=cuda runs the same tests on a GPU; those that need eight devices are then skipped.
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that a bare `pytest` finds lmlab, experiments and configs too

from lmlab.utils import environment  # noqa: E402  (imports no jax)
from lmlab.utils.files import cache_dir  # noqa: E402  (nor does this)

# All of this is read when jax is first imported, here or in a program that a test starts.
os.environ["JAX_PLATFORMS"] = os.environ.get("LMLAB_TEST_PLATFORM") or "cpu"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_dir() / "xla-tests"))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
DEVICES = "--xla_force_host_platform_device_count"
if DEVICES not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DEVICES}=8".strip()
environment.let_meet(8)

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from absl import logging  # noqa: E402

jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
jax.config.update("jax_default_matmul_precision", "highest")
# Tests compile far more than they compute. Programs that tests start are compiled as ever.
jax.config.update("jax_disable_most_optimizations", os.environ["JAX_PLATFORMS"] == "cpu")
logging.set_verbosity(logging.WARNING)
# A shell that starts pytest in the background has Ctrl-C ignored, here and in all that is started from here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    """Adds --full, for tests/faults (here, since pytest asks only this file before it has collected anything)."""
    parser.addoption("--full", action="store_true", help="the long version of the fault tests: an hour and a half")


def pytest_configure(config):
    """Names the mark that `./run.sh test` leaves out and `./run.sh test --all` does not."""
    config.addinivalue_line("markers", "slow: over about 15 seconds, or needs a parity oracle")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """$LMLAB_CACHE in a temporary folder: no test reads or fills the user's data cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMLAB_CACHE", str(tmp_path_factory.mktemp("lmlab-cache")))
        yield


@pytest.fixture(scope="module", autouse=True)
def room():
    """Lets go of compiled programs after a module that left many: each holds memory maps, and Linux gives a process
    65,530 of them, beyond which compiling aborts."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 25_000:
        jax.clear_caches()


@pytest.fixture(scope="session")
def eight():
    """The eight devices; skips where there are fewer."""
    if jax.device_count() < 8:
        pytest.skip("needs eight devices")
    return jax.devices()[:8]


@pytest.fixture(scope="session")
def packed():
    """A function that packs random documents: (batch, documents), the batch as the loader would give it."""
    from lmlab.data import store, windows

    def make(rows, length, vocab, padding=0, seed=0):
        """`rows` rows of `length`, the last `padding` of them empty. Each document stands between two eods (the last
        id) and none is longer than a row; documents[r] lists the tokens of row r's documents, both eods included."""
        rng = np.random.default_rng(seed)
        sizes = rng.integers(1, length, 6 * rows)
        tokens, offsets = [vocab - 1], [0]
        for size in sizes:
            tokens += [*rng.integers(0, vocab - 1, size), vocab - 1]
            offsets.append(len(tokens) - 1)
        split = store.TokenStore(np.array(tokens, np.uint16), np.array(offsets), {}, Path(), "train")
        index = windows.packed(split.offsets, length)
        full = rows - padding
        numbers = np.concatenate([len(index.rows) - 2 - np.arange(full), np.full(padding, -1)])
        batch = windows.rows(split, index, numbers, length) | {"row": np.arange(rows, dtype=np.int32)}
        pieces = [index.pieces[index.rows[n]:index.rows[n + 1]] for n in numbers[:full]]
        return batch, [[split.tokens[a:a + n].astype(np.int32) for a, n in row] for row in pieces]
    return make


@pytest.fixture(scope="session")
def lively():
    """A function that adds noise to every leaf, so that no gradient is small by the choice of initial values."""
    def shaken(params, scale=0.2, seed=0):
        """The tree as numpy arrays, each plus N(0, scale^2)."""
        rng = np.random.default_rng(seed)
        return jax.tree.map(lambda x: np.asarray(x) + scale * rng.standard_normal(x.shape).astype(x.dtype), params)
    return shaken


@pytest.fixture(scope="session")
def assert_close():
    """A function that compares two trees leaf by leaf, within `tolerance` of the largest entry of all of `expected`."""
    def compare(tree, expected, tolerance):
        """Raises an AssertionError that names the leaf that is furthest off."""
        tree, expected = jax.device_get((tree, expected))
        assert jax.tree.structure(tree) == jax.tree.structure(expected)
        largest = max(float(np.abs(x).max()) for x in jax.tree.leaves(expected))
        off = {jax.tree_util.keystr(path): float(np.abs(np.float64(a) - np.float64(b)).max()) / largest
               for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(expected))}
        worst = max(off, key=off.get)
        assert off[worst] <= tolerance, f"{worst or 'value'} is off by {off[worst]:.2e} of the largest entry"
    return compare


@pytest.fixture(scope="session")
def assert_same():
    """A function that compares two trees bit for bit."""
    def compare(tree, expected):
        """Raises an AssertionError that names a leaf that differs."""
        tree, expected = jax.device_get((tree, expected))
        assert jax.tree.structure(tree) == jax.tree.structure(expected)
        for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(expected)):
            a, b = np.asarray(a), np.asarray(b)
            assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes(), jax.tree_util.keystr(path)
    return compare
