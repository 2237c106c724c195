"""Back-translation: texts in other words, by way of another language and two encoder-decoders (Sennrich et al.
2016)."""

from lmlab.decoding.text import generate
from lmlab.utils.errors import UserError

_ROWS = 32


def back_translated(there, back, texts, *, temperature=0.7, seed=0) -> list[str | None]:
    """Each text after it was translated there and back, without blanks around it; None where one of the models cannot
    read it whole, or says nothing.

    Args:
      there, back: what lmlab.load gives, encoder-decoders. temperature: of the draws of both; 0: the most likely text,
        which differs less (Edunov et al. 2018). seed: of the draws.
    Raises:
      UserError: for a model that is no encoder-decoder, or a character that its tokenizer does not know.
    """
    return _translated(back, _translated(there, texts, temperature, seed), temperature, seed + 1)


def _translated(lm, texts, temperature, seed):
    """The translation of each text, None of None."""
    if not lm.model.spec.encoder_layers:
        raise UserError("back-translation takes encoder-decoders (config.objective.name=seq2seq), and one of the "
                        "models has no encoder; name another run")
    context, found = lm.model.spec.context, [None] * len(texts)
    fits = [i for i, text in enumerate(texts) if text and len(lm.tokenizer.encode(text)) + 2 <= context]
    for start in range(0, len(fits), _ROWS):
        rows = fits[start:start + _ROWS]
        made = generate(lm, [texts[i] for i in rows], max_new_tokens=context, temperature=temperature,
                        seed=seed + 2 * start)
        for i, text in zip(rows, made, strict=True):
            found[i] = text.strip() or None
    return found
