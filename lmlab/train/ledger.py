"""Which rows each step took, written down: over any kills, resumes and layouts it is the uninterrupted run's."""

import json

from lmlab.utils.files import sha256
from lmlab.utils.logs import go_on


class Ledger:
    """ledger.jsonl of a run that begins, or goes on, at step `start`; on=False: writes nothing.

    A line a step: {"step": n, "rows": {place in the global batch: [row number, epoch, digest of what was given]}}.
    The number and the epoch are what the loader says, the digest is of the arrays that the step was handed.
    """

    def __init__(self, path, batches, start, on=True):
        self._batches = batches
        self._file = go_on(path, start)[1] if on else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._file:
            self._file.close()

    def write(self, i, batch):
        """Notes batch i, of step i + 1, before it is used."""
        if self._file:
            numbers_B, epochs_B = (ids.tolist() for ids in self._batches.records(i))
            rows = {place: [numbers_B[b], epochs_B[b], _digest(batch, b)]
                    for b, place in enumerate(batch["row"].tolist())}
            self._file.write(json.dumps({"step": i + 1, "rows": rows}) + "\n")


def _digest(batch, b):
    return sha256(b"".join(name.encode() + batch[name][b].tobytes() for name in sorted(batch)))[:16]
