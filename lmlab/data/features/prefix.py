"""Prefix language modelling (Raffel et al. 2020, section 3.2.1; UniLM's sequence-to-sequence: Dong et al. 2019)."""

import numpy as np

from lmlab.data.features import Rows, causal, generator


def features(split, tokenizer, *, length, windows) -> Rows:
    """Causal rows whose pieces are each cut at a random place: before it all is seen, after it all is predicted.

    Args:
      as in `causal.features`.
    Returns:
      Rows with "prefix" (B, T) bool. A piece of m tokens has a prefix of 1 to m, each as likely; the token that ends
      the prefix is the first with a target of weight 1.
    """
    rows = causal.features(split, tokenizer, length=length, windows=windows)

    def make(numbers_B: np.ndarray, epochs_B: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        batch = rows.make(numbers_B, epochs_B, seed)
        batch["prefix"] = np.zeros(batch["tokens"].shape, bool)
        for b, number in enumerate(numbers_B.tolist()):
            if number >= 0:
                segments_T, positions_T = batch["segments"][b], batch["positions"][b]
                sizes = np.bincount(segments_T)[1:]
                cuts = generator(seed, int(epochs_B[b]), number).integers(1, sizes + 1)
                cut_T = np.concatenate([[0], cuts])[segments_T]
                batch["prefix"][b] = positions_T < cut_T
                batch["weights"][b] *= positions_T >= cut_T - 1
        return batch

    return Rows(rows.count, make)
