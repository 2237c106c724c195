"""What a process of several does differently: its part of a batch, and the word that it wants to stop."""

from types import SimpleNamespace

import numpy as np
import pytest
from jax.sharding import PartitionSpec

from lmlab.train import sharding


def spread(ways, *mine):
    """A sharding of rows over data=`ways`, whose devices in this process hold the parts `mine`."""
    places = lambda shape: {i: (slice(i * shape[0] // ways, (i + 1) * shape[0] // ways),) for i in mine}
    return SimpleNamespace(mesh=SimpleNamespace(shape={"data": ways, "fsdp": 1}), spec=PartitionSpec(("data", "fsdp")),
                           addressable_devices_indices_map=places)


@pytest.mark.parametrize("ways,mine,part", [
    (8, range(8), (0, 1)), (8, range(4), (0, 2)), (8, range(4, 8), (1, 2)), (4, [3], (3, 4)), (1, [0], (0, 1)),
    (8, [0, 2], (0, 1)), (8, [2, 3, 4, 5], (0, 1)), (8, [7, 6], (3, 4))])
def test_share_is_the_smallest_equal_part_that_holds_all_rows(ways, mine, part):
    assert sharding.share(spread(ways, *mine)) == part


@pytest.mark.parametrize("sizes", [dict(), dict(fsdp=4), dict(data=2, fsdp=2, tensor=2), dict(tensor=8)])
def test_batch_on_devices_is_the_batch(sizes, eight):
    rows = sharding.batch_sharding(sharding.make_mesh(**sizes, devices=eight))
    batch = {"tokens": np.arange(16 * 3).reshape(16, 3), "row": np.arange(16)}
    placed = sharding.put_batch(batch, rows)
    assert all(placed[name].sharding == rows and (np.asarray(placed[name]) == batch[name]).all() for name in batch)


@pytest.mark.parametrize("name", ["mixed", "pmap"])
def test_one_row_that_wants_to_stop_is_heard_and_changes_nothing(name, make_strategy, make_model, tap, packed,
                                                                 assert_same):
    strategy = make_strategy(name, make_model(layers=1), tap)
    batch, _ = packed(8, 16, 37)
    results = []
    for flags in ([0] * 8, [0, 0, 0, 0, 0, 1, 0, 0]):
        state, metrics = strategy.step(strategy.init(), strategy.put(batch | {"stop": np.array(flags, bool)}))
        assert bool(metrics.pop("stop")) == any(flags)
        results.append((strategy.collect(state), metrics))
    assert_same(*results)
