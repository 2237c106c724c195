"""How much texts say of hypotheses: by a head that tells entailment (Yin et al. 2019), or by a decoder as it is."""

import numpy as np

from lmlab.data.features import examples
from lmlab.data.features.dialogue import Learned
from lmlab.decoding import headed
from lmlab.decoding.cached import around
from lmlab.objectives import likelihood
from lmlab.utils.errors import UserError


def by_entailment(lm, texts, hypotheses) -> np.ndarray:
    """(N, H, 2) float32: of each text and hypothesis the logits of contradiction and of entailment.

    Entailment is the label that begins with "entail". Contradiction is the last label where that is the first, else the
    first, as transformers has it.
    Raises:
      UserError: where no label is entailment.
    """
    entailment = next((k for k, label in enumerate(lm.labels) if label.lower().startswith("entail")), None)
    if entailment is None or len(lm.labels) < 2:
        raise UserError(f"zero-shot classification takes a head that tells entailment, and this one's labels are "
                        f"{', '.join(lm.labels)[:80] or 'none'}; train one on pairs of texts with entailment among "
                        "their labels, or use a network without a head")
    headed.check(lm, "classification")
    firsts, seconds = zip(*((text, hypothesis) for text in texts for hypothesis in hypotheses))
    logits_C = headed.logits(lm, examples.encode(lm.tokenizer, list(firsts), list(seconds), headed.length(lm)))
    both = np.stack(logits_C)[:, [0 if entailment else -1, entailment]]
    return both.reshape(len(texts), len(hypotheses), 2)


def by_likelihood(lm, texts, hypotheses) -> np.ndarray:
    """(N, H) float64: log p(hypothesis | text) - log p(hypothesis), in nats, of a decoder: how much likelier a
    hypothesis is once the text is read (domain-conditional PMI: Holtzman et al. 2021), however common or long it is.

    A text whose hypothesis would not fit in the context loses its beginning.
    """
    tokenizer, eod = lm.tokenizer, lm.tokenizer.eod
    before, _ = around(lm.model.spec, tokenizer)
    said = tokenizer.encode_batch([" " + hypothesis for hypothesis in hypotheses])
    prompts = [[i for i in (before, *ids) if i >= 0] or [eod] for ids in [*tokenizer.encode_batch(texts), []]]
    learned = [Learned(np.array([*prompt, *ids], np.int32), np.repeat(np.float32([0, 1]), [len(prompt), len(ids)]))
               for prompt in prompts for ids in said]
    sums_NH = likelihood.of_texts(lm, learned)[:, 0].reshape(len(prompts), len(hypotheses))
    return sums_NH[:-1] - sums_NH[-1]
