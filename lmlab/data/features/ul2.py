"""A mixture of denoisers (UL2: Tay et al. 2022, section 3.1), a mark of the kind before each input.

The settings are near the paper's, not its own table.

    extra_99  R, regular: spans of 3 tokens on average, 15 % of the text
    extra_98  X, extreme: long spans or much of the text (32 and 15 %, 3 and 50 %, 64 and 50 %, each as likely)
    extra_97  S, sequential: the end of the text, up to half of it, and at least what does not fit into the input

The sentinels of the spans are extra_0 and on, as in `spans`. """

import numpy as np

from lmlab.data import windows as plans
from lmlab.data.features import Rows, by_row, check_range, role, sequences, spans
from lmlab.utils.errors import UserError

MARKS = {"regular": "extra_99", "extreme": "extra_98", "sequential": "extra_97"}
REGULAR, EXTREME = ((0.15, 3.0),), ((0.15, 32.0), (0.5, 3.0), (0.5, 64.0))  # (rate, mean_span)


def check(regular=0.35, extreme=0.35, sequential=0.3, **_) -> None:
    """Raises a UserError for values of `features` that mean nothing."""
    for name, share in (("regular", regular), ("extreme", extreme), ("sequential", sequential)):
        check_range(name, share, 0, 1)
    if abs(regular + extreme + sequential - 1) > 1e-6:
        raise UserError(f"config.objective.regular={regular}, extreme={extreme}, sequential={sequential}: they must "
                        "add up to 1")


def features(split, tokenizer, *, length, windows, regular: float = 0.35, extreme: float = 0.35,
             sequential: float = 0.3) -> Rows:
    """Rows as in `spans.features`, by the unbiased sampler (T5's own masks the end of the text where there is one span,
    and would be S again), the raw text as long as every denoiser can take it.

    Args:
      split: a TokenStore. tokenizer: with "extra_0" to "extra_99". length: of the encoder's rows, and the most of the
        decoder's.
      windows: "stream" or "packed", which here is a piece of one document a row (see `sequences.texts`).
      regular, extreme, sequential: shares of the rows; they add up to 1.
    """
    check(regular, extreme, sequential)
    plans.check(length, windows, least=8)
    kinds, shares = list(MARKS), np.array([regular, extreme, sequential])
    marks = {kind: role(tokenizer, MARKS[kind]) for kind in kinds}
    sentinels = sequences.sentinels(tokenizer)[:97]
    eod, start = tokenizer.eod, sequences.start_of(tokenizer)
    raw = min(spans.raw_length(length - 2, *setting) for setting in REGULAR + EXTREME)
    made = [spans.sizes(raw, *setting)[1] + 1 for setting in REGULAR + EXTREME]
    spans.check_sentinels(max(spans.counts(raw, *setting)[1] for setting in EXTREME) + 1, len(sentinels), length)
    texts = sequences.texts(split, raw, windows)

    def row(number: int, shift: int, rng: np.random.Generator) -> dict:
        text = texts.read(number, shift)
        if len(text) < 2:
            return {}
        kind = kinds[rng.choice(3, p=shares / shares.sum())]
        if kind == "sequential":
            end = rng.integers(max(1, len(text) + 3 - length), len(text) // 2 + 1)  # 3: mark, sentinel, eod
            mask = np.arange(len(text)) >= len(text) - end
        else:
            among = REGULAR if kind == "regular" else EXTREME
            mask = spans.noise_mask(rng, len(text), *among[rng.integers(len(among))], "unbiased")
        source, target = spans.corrupt(text, mask, sentinels, eod)
        return sequences.sequence([np.append(marks[kind], source)], [target], start)

    return by_row(texts.count, sequences.widths(length, max(*made, raw // 2 + 2)), row, texts.moves)
