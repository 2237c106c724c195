"""What a process of several does differently: its part of a batch, and the word that it wants to stop."""

from types import SimpleNamespace

import numpy as np
import pytest

from lmlab.train import sharding


@pytest.mark.parametrize("ways,mine,part", [
    (8, range(8), (0, 1)), (8, range(4), (0, 2)), (8, range(4, 8), (1, 2)), (4, [3], (3, 4)), (1, [0], (0, 1)),
    (8, [0, 2], (0, 1)), (8, [2, 3, 4, 5], (0, 1)), (8, [7, 6], (3, 4))])
def test_share_is_the_smallest_equal_part_that_holds_all_rows(ways, mine, part, monkeypatch):
    """`mine`: which of `ways` equal parts of the rows the devices of this process hold."""
    places = lambda shape: {i: (slice(i * shape[0] // ways, (i + 1) * shape[0] // ways),) for i in mine}
    monkeypatch.setattr(sharding, "batch_sharding",
                        lambda mesh, ndim: SimpleNamespace(addressable_devices_indices_map=places))
    assert sharding.share(SimpleNamespace(shape={"data": ways, "fsdp": 1, "expert": 1})) == part


@pytest.mark.parametrize("sizes,parts", [
    (dict(), [(0, 4), (1, 4), (2, 4), (3, 4)]), (dict(context=2), [(0, 4), (1, 4), (2, 4), (3, 4)]),
    (dict(context=4), [(0, 2), (0, 2), (1, 2), (1, 2)]), (dict(data=1, context=8), [(0, 1)] * 4),
    (dict(data=2, expert=2, tensor=2), [(0, 4), (1, 4), (2, 4), (3, 4)])])
def test_four_processes_of_two_devices_read_what_their_devices_hold(sizes, parts, eight, monkeypatch):
    """Those that share rows, each with a part of their length, read the same ones; together they read them all."""
    mesh = sharding.make_mesh(**sizes, devices=eight)
    whole = sharding.batch_sharding(mesh, 1)
    for process, part in enumerate(parts):
        mine = eight[2 * process:2 * process + 2]
        places = lambda shape: {d: place for d, place in whole.devices_indices_map(shape).items() if d in mine}
        monkeypatch.setattr(sharding, "batch_sharding",
                            lambda mesh, ndim: SimpleNamespace(addressable_devices_indices_map=places))
        assert sharding.share(mesh) == part


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
