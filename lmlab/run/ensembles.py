"""Several models that answer as one: by the mean of their probabilities, by vote, or with the mean of their weights (a
model soup: Wortsman et al. 2022, which wants runs that began from the same network)."""

import dataclasses

import jax
import numpy as np

from lmlab.adapt import lora
from lmlab.data import tokenizers
from lmlab.run.loading import HOW, LM
from lmlab.utils.errors import UserError, did_you_mean
from lmlab.utils.trees import by_path

WAYS = ("average", "vote", "weights")


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """Classifiers of the same labels. members: LMs. how: average, vote."""
    members: tuple
    how: str

    @property
    def labels(self):
        """What the outputs are of."""
        return self.members[0].labels

    @property
    def config(self):
        """Of the first member."""
        return self.members[0].config

    @property
    def tokenizer(self):
        """Of the first member; each reads a text with its own."""
        return self.members[0].tokenizer

    def said(self, said_MNC) -> np.ndarray:
        """(N, C): what the members' probabilities (M, N, C) are together: their mean, or the share of the members that
        call a label the likeliest (where there may be several: likelier than not)."""
        if self.how == "average":
            return np.mean(said_MNC, axis=0)
        if self.config.objective.kind == "several":
            return np.mean(np.asarray(said_MNC) > 0.5, axis=0)
        said_MNC = np.asarray(said_MNC)
        return np.mean(np.arange(said_MNC.shape[-1]) == said_MNC.argmax(-1)[..., None], axis=0)


def together(lms, how="average") -> LM | Ensemble:
    """One model of several: of one, itself.

    Args:
      lms: LMs. how: average or vote of classifiers, whose networks may differ; weights, an LM with the mean of their
        parameters, adapters merged.
    Raises:
      UserError: where they have other labels, or, for weights, another network or tokenizer.
    """
    if how not in WAYS:
        raise UserError(f"ensemble={how!r} is unknown{did_you_mean(how, WAYS)}; one of {', '.join(WAYS)}")
    first, *others = lms
    if not others:
        return first
    for number, lm in enumerate(others, 2):
        if lm.labels != first.labels:
            told = lambda lm: "no head" if lm.labels is None else ", ".join(lm.labels)[:200] or "a number"
            raise UserError(f"the first model tells {told(first)}, and number {number} {told(lm)}; take those of the "
                            "same labels")
    return _soup(first, others) if how == "weights" else _ensemble(lms, how)


def _ensemble(lms, how):
    """The classifiers as one."""
    kinds = {lm.config.objective.get("kind", "") if lm.labels is not None else None for lm in lms}
    if {lm.config.objective.name for lm in lms} != {"classification"} or len(kinds) > 1:
        raise UserError(f"ensemble={how} is of classifiers with the same config.objective.kind; these are not; use "
                        "ensemble=weights for runs of one network")
    if how == "vote" and kinds == {"number"}:
        raise UserError("ensemble=vote is of labels, and these models tell a number; use ensemble=average")
    return Ensemble(tuple(lms), how)


def _soup(first, others):
    """The first with the mean of all parameters."""
    merged = lora.merge(first.params)
    shapes = lambda params: {path: x.shape for path, x in by_path(params).items()}
    total = jax.tree.map(lambda x: np.asarray(x, np.float64), merged)
    for number, lm in enumerate(others, 2):
        theirs = lora.merge(lm.params)
        odd = [f"config.model.{name}" for name, value in first.config.model.items()
               if name not in HOW and lm.config.model.get(name) != value]
        odd += sorted(path for path in shapes(merged).keys() | shapes(theirs).keys()
                      if shapes(merged).get(path) != shapes(theirs).get(path))
        if odd:
            raise UserError(f"number {number} is another network than the first ({odd[0]} differs), so that their "
                            "weights have no mean; use ensemble=average, or runs that began from one network")
        if tokenizers.digest(lm.tokenizer) != tokenizers.digest(first.tokenizer):
            raise UserError(f"number {number} has another tokenizer than the first, so that their weights have no "
                            "mean; use ensemble=average, or runs that began from one network")
        total = jax.tree.map(lambda t, x: t + np.asarray(x, np.float64), total, theirs)
    mean = jax.tree.map(lambda t, x: (t / (1 + len(others))).astype(x.dtype), total, merged)
    return dataclasses.replace(first, params=mean)
