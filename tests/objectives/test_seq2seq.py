"""Sequence to sequence, with label smoothing, against sums written out by hand."""

import numpy as np
import pytest

from lmlab import objectives


def logs(setting):
    """log p (B, T, V) by the whole model."""
    model, params, batch = setting
    encoder = {name: batch[f"encoder_{name}"] for name in ("tokens", "segments", "positions")}
    x = np.float64(model.apply({"params": params}, batch["tokens"], batch["segments"], batch["positions"],
                               encoder=encoder))
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


@pytest.mark.parametrize("chunk", [0, 5])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_smoothed_targets_are_a_mixture_with_the_uniform(encoder_decoder, smoothing, chunk):
    model, params, batch = encoder_decoder
    log_p = logs(encoder_decoder)
    wanted = np.zeros_like(log_p)
    np.put_along_axis(wanted, batch["targets"][..., None], 1, -1)
    wanted = (1 - smoothing) * wanted + smoothing / 29
    total = -((wanted * log_p).sum(-1) * batch["weights"]).sum()
    plain = -(np.take_along_axis(log_p, batch["targets"][..., None], -1)[..., 0] * batch["weights"]).sum()

    loss = objectives.build("seq2seq", vocab_size=29, smoothing=smoothing, chunk=chunk)
    terms, metrics = loss(model.apply, params, batch)
    assert set(terms) == ({"loss", "smoothing"} if smoothing else {"loss"})
    assert terms["loss"][0] == pytest.approx(plain, rel=1e-5)
    assert sum(s for s, _ in terms.values()) == pytest.approx(total, rel=1e-5)
    assert all(weight == 16 for _, weight in (*terms.values(), *metrics.values()))
    hits = ((log_p.argmax(-1) == batch["targets"]) * batch["weights"]).sum()
    assert metrics["accuracy"][0] == hits


@pytest.mark.parametrize("name", ["span_corruption", "denoising", "ul2"])
def test_denoisers_share_its_loss(encoder_decoder, name):
    model, params, batch = encoder_decoder
    assert objectives.build(name, vocab_size=29)(model.apply, params, batch)[0]["loss"][0] == pytest.approx(
        objectives.build("seq2seq", vocab_size=29)(model.apply, params, batch)[0]["loss"][0])
