"""What holds of every objective's rows: a function of (seed, epoch, number), padding, shares of processes."""

import numpy as np
import pytest
from reading import every

from lmlab.data import loader, windows
from lmlab.data.features import by_row, causal, denoising, generator, masked, pairs, prefix, spans, ul2
from lmlab.utils.errors import UserError

KINDS = {"causal": (causal, {}), "prefix": (prefix, {}), "token": (masked, {}), "word": (masked, {"spans": "word"}),
         "ngram": (masked, {"spans": "ngram"}), "next": (masked, {"pairs": "next_sentence"}),
         "order": (masked, {"pairs": "sentence_order"}), "t5": (spans, {}),
         "unbiased": (spans, {"sampler": "unbiased"}), "bart": (denoising, {}), "ul2": (ul2, {}), "pairs": (pairs, {})}


@pytest.fixture
def rows(distinct, lay, numbers):
    """(kind, windows) -> Rows of 48 tokens over the distinct documents."""
    def make(kind, windows, length=48):
        module, settings = KINDS[kind]
        split = distinct if kind != "pairs" else distinct._replace(meta={"name": "pairs", "fields": 2})
        return module.features(split, numbers, length=length, windows=windows, **settings)
    return make


def same(a, b):
    """Whether two batches are the same arrays."""
    return a.keys() == b.keys() and all((a[k] == b[k]).all() and a[k].dtype == b[k].dtype for k in a)


@pytest.mark.parametrize("cut", ["stream", "packed"])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_depend_on_seed_epoch_and_number_alone(rows, kind, cut):
    made = rows(kind, cut)
    whole, again = every(made, epoch=2, seed=5), every(rows(kind, cut), epoch=2, seed=5)
    assert same(whole, again)
    for n in (0, made.count // 2, made.count - 1):  # whatever stands beside it
        alone = made.make(np.array([3, n]), np.array([0, 2]), 5)
        assert all((alone[k][1] == whole[k][n]).all() for k in alone)
    if kind != "pairs" and (kind, cut) != ("causal", "packed"):
        assert not same(whole, every(made, epoch=3, seed=5)) and not same(whole, every(made, epoch=2, seed=6))


@pytest.mark.parametrize("cut", ["stream", "packed"])
@pytest.mark.parametrize("kind", KINDS)
def test_arrays_and_padding_are_as_agreed(rows, kind, cut):
    batch = rows(kind, cut).make(np.array([0, -1, 2]), np.zeros(3, int), 0)
    dtypes = {"weights": np.float32, "prefix": bool}
    for name, array in batch.items():
        assert array.dtype == dtypes.get(name, np.int32) and len(array) == 3 and not array[1].any()
        if array.ndim > 1:
            like = batch["encoder_tokens" if name.startswith("encoder") else "tokens"]
            assert array.shape == like.shape and array.shape[1] <= 48
    assert {"tokens", "targets", "segments", "positions", "weights"} <= batch.keys()
    for side in ("", "encoder_") if "encoder_tokens" in batch else ("",):
        segments, positions = batch[side + "segments"], batch[side + "positions"]
        for row in (0, 2):
            sizes = np.bincount(segments[row])[1:]
            assert (segments[row] == np.concatenate([np.repeat(np.arange(len(sizes)) + 1, sizes),
                                                     np.zeros(segments.shape[1] - sizes.sum())])).all()
            assert positions[row].tolist()[:sizes.sum()] == [i for size in sizes for i in range(size)]
            assert not positions[row][sizes.sum():].any()
        assert not batch[side + "tokens"][segments == 0].any()
    assert not batch["weights"][batch["segments"] == 0].any() and set(np.unique(batch["weights"])) <= {0, 1}


@pytest.mark.parametrize("kind", ["prefix", "next", "ul2", "pairs"])
def test_processes_share_the_batches(rows, kind):
    made = rows(kind, "packed")
    alone = loader.train_batches(made, batch=6, seed=1)
    parts = [loader.train_batches(made, batch=6, seed=1, process=p, processes=3) for p in range(3)]
    for i in (0, 40):
        local = [part[i] for part in parts]
        assert same({k: np.concatenate([one[k] for one in local]) for k in local[0]}, alone[i])
    scored = [loader.eval_batches(made, batch=6, process=p, processes=3) for p in range(3)]
    together = np.concatenate([np.concatenate([one["tokens"] for one in local]) for local in zip(*scored)])
    assert (together[:made.count] == every(made)["tokens"]).all() and not together[made.count:].any()


@pytest.mark.parametrize("kind", ["token", "t5", "bart", "ul2"])
def test_stream_windows_move_from_epoch_to_epoch(rows, kind):
    made = rows(kind, "stream")
    texts = [set(map(tuple, every(made, epoch)["original" if kind == "token" else "targets"].tolist()))
             for epoch in (0, 1)]
    assert len(texts[0] & texts[1]) < made.count // 2


def test_generators_are_told_apart_by_each_of_their_numbers():
    draws = {generator(*key).integers(2**62) for key in np.ndindex(3, 4, 5)}
    assert len(draws) == 60 and generator(1, 2, 3).integers(2**62) == generator(1, 2, 3).integers(2**62)


def test_by_row_pads_and_places():
    rows = by_row(2, {"tokens": 3, "weights": 2, "pair": 0},
                  lambda number, shift, rng: {"tokens": [7] * number, "weights": [0.5], "pair": number})
    batch = rows.make(np.array([2, -1, 1]), np.zeros(3, int), 0)
    assert batch["tokens"].tolist() == [[7, 7, 0], [0, 0, 0], [7, 0, 0]] and batch["pair"].tolist() == [2, 0, 1]
    assert batch["weights"].tolist() == [[0.5, 0], [0, 0], [0.5, 0]]


@pytest.mark.parametrize("kind, settings, message", [
    ("token", {"rate": 2.0}, "config.objective.rate=2.0 must be from 0 to 1"),
    ("token", {"spans": "words"}, "config.objective.spans='words' is unknown; did you mean 'word'"),
    ("token", {"mask_share": 0.8, "random_share": 0.3}, "config.objective.random_share=0.3"),
    ("token", {"pairs": "nsp"}, "config.objective.pairs='nsp' is unknown"),
    ("t5", {"sampler": "T5"}, "config.objective.sampler='T5' is unknown"),
    ("t5", {"mean_span": 0.5}, "config.objective.mean_span=0.5"),
    ("bart", {"permute": -1.0}, "config.objective.permute=-1.0"),
    ("ul2", {"regular": 0.5}, "config.objective.regular=0.5, .*must add up to 1")])
def test_settings_that_mean_nothing_are_named(distinct, numbers, kind, settings, message):
    with pytest.raises(UserError, match=message):
        KINDS[kind][0].check(**settings)
    with pytest.raises(UserError, match=message):
        KINDS[kind][0].features(distinct, numbers, length=32, windows="stream", **settings)


@pytest.mark.parametrize("kind", KINDS)
def test_windows_and_lengths_that_cannot_be_are_named(rows, kind):
    with pytest.raises(UserError, match="config.train.windows='pack'"):
        rows(kind, "pack")
    with pytest.raises(UserError, match="config.train.length=0"):
        rows(kind, "stream", length=0)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "pairs"])
def test_pairs_are_refused_where_plain_text_is_wanted(distinct, numbers, kind):
    module, settings = KINDS[kind]
    with pytest.raises(UserError, match="holds pairs.*config.objective.name=seq2seq"):
        module.features(distinct._replace(meta={"name": "x", "fields": 2}), numbers, length=32, windows="stream",
                        **settings)


@pytest.mark.parametrize("kind", ["token", "next", "t5", "bart", "ul2"])
def test_a_tokenizer_without_the_special_tokens_is_named(distinct, numbers, kind):
    class Plain(type(numbers)):
        def __init__(self):
            super().__init__()
            self.specials = {}

    module, settings = KINDS[kind]
    with pytest.raises(UserError, match="config.tokenizer: it has no (cls|mask|extra_0|extra_99) token"):
        module.features(distinct, Plain(), length=32, windows="stream", **settings)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", ["stream", "packed"])
def test_short_rows_of_random_text_never_break(lay, numbers, kind, cut):
    module, settings = KINDS[kind]
    for seed in range(12):
        rng = np.random.default_rng(seed)
        documents = [rng.integers(110, 400, rng.integers(1, 9)).tolist() for _ in range(2 * rng.integers(1, 5))]
        split = lay([[200, 201, 202]] * 2 + documents, fields=2 if kind == "pairs" else 1)
        rows = module.features(split, numbers, length=int(rng.integers(8, 14)), windows=cut, **settings)
        for epoch in (0, 1):
            batch = every(rows, epoch, seed)
            assert rows.count and np.isfinite(batch["weights"]).all()


def test_bodies_are_a_partition_into_even_pieces():
    rng = np.random.default_rng(0)
    for _ in range(50):
        sizes, length = rng.integers(1, 40, 9), int(rng.integers(1, 20))
        offsets = np.concatenate([[0], np.cumsum(sizes + 1)])
        pieces = windows.bodies(offsets, length)
        found = [i for start, n in pieces for i in range(start, start + n)]
        assert found == sorted(set(range(offsets[-1] + 1)) - set(offsets.tolist()))
        assert pieces[:, 1].max() <= length and len(pieces) == sum(-(-size // length) for size in sizes)
        document = np.searchsorted(offsets, pieces[:, 0])
        assert all(np.ptp(pieces[document == d, 1]) <= 1 for d in set(document))
