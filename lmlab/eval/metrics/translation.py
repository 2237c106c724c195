"""BLEU, chrF and TER of translations, in 0..100, counted by sacrebleu (Post 2018), with the signatures to publish."""

import importlib.util
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from sacrebleu.metrics import BLEU, CHRF, TER

from lmlab.data.cleaning import CJK

_CJK, _KANA = re.compile(f"[{CJK}]"), re.compile("[\u3040-\u30ff]")


class Measure(NamedTuple):
    """One metric of a set of translations.

    Attributes:
      counts_BX: what it is computed from, of each example. of_sums: their sums over examples (X,) -> the metric, to be
        given to `interval.of_sums`. signature: what settings and which version counted.
    """
    counts_BX: np.ndarray
    of_sums: Callable[[np.ndarray], float]
    signature: str


def scores(references: Sequence[Sequence[str]], predicted: Sequence[str], language: str = "") -> dict[str, float]:
    """{"bleu", "chrf", "ter"} over all examples; of TER, the edits a word, less is better. The arguments are those of
    `measures`."""
    return {name: measure.of_sums(measure.counts_BX.sum(axis=0))
            for name, measure in measures(references, predicted, language).items()}


def measures(references: Sequence[Sequence[str]], predicted: Sequence[str], language: str = ""
             ) -> dict[str, Measure]:
    """{"bleu", "chrf", "ter"} as what they are computed from.

    Args:
      references: of each example, one at least. predicted: a translation of each.
      language: of the target, such as "zh" or "ja-JP": Chinese is cut by sacrebleu's "zh", Japanese by MeCab where that
        is installed (sacrebleu[ja]) and else by characters, any other by mteval's 13a. "" tells these from the script
        of the references. For TER characters of the two are words.
    Raises:
      ValueError: for other numbers of references than of translations.
    """
    if len(references) != len(predicted):
        raise ValueError(f"{len(predicted)} translations of {len(references)} texts")
    language = re.split("[-_]", language.lower())[0] or guess(references)
    japanese = "ja-mecab" if importlib.util.find_spec("MeCab") and importlib.util.find_spec("ipadic") else "char"
    asian = language in ("zh", "ja")
    metrics = {"bleu": BLEU(tokenize={"zh": "zh", "ja": japanese}.get(language, "13a")), "chrf": CHRF(),
               "ter": TER(normalized=asian, asian_support=asian)}
    # sacrebleu wants the first reference of every example, then the second, with None where there is no other.
    streams = [[texts[n] if n < len(texts) else None for texts in references]
               for n in range(max(map(len, references)))]
    return {name: _measure(metric, streams, predicted) for name, metric in metrics.items()}


def guess(references: Sequence[Sequence[str]]) -> str:
    """"ja" or "zh" where most letters of the texts are Japanese or Chinese, else ""."""
    text = "".join(text for texts in references for text in texts)
    if 2 * len(_CJK.findall(text)) <= sum(map(str.isalpha, text)):
        return ""
    return "ja" if 10 * len(_KANA.findall(text)) > len(_CJK.findall(text)) else "zh"


def _measure(metric, streams, predicted) -> Measure:
    # These two are what sacrebleu's own bootstrap calls; nothing public gives the counts of chrF.
    counts_BX = np.array(metric._extract_corpus_statistics(list(predicted), streams))
    return Measure(counts_BX, lambda sums_X: float(metric._compute_score_from_stats(sums_X.tolist()).score),
                   str(metric.get_signature()))
