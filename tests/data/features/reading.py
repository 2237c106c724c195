"""Rows read back as lists."""

import numpy as np


def every(rows, epoch=0, seed=0):
    """All rows of an epoch as one batch."""
    return rows.make(np.arange(rows.count), np.full(rows.count, epoch), seed)


def used(batch, b, side=""):
    """The ids of row b that are not padding; side: "encoder_" for the encoder's."""
    return batch[side + "tokens"][b][batch[side + "segments"][b] > 0].tolist()


def targets(batch, b):
    """The targets of row b that have weight."""
    return batch["targets"][b][batch["weights"][b] > 0].tolist()
