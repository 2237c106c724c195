"""Learning from preferences between answers: DPO (Rafailov et al. 2023), ORPO (Hong et al. 2024), KTO (Ethayarajh et
al. 2024).

DPO and KTO hold the network against the one that it began from. What that one says of the answers does not change, so
it is asked once, before training (`prepare`), and a step holds no second network.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

from lmlab.data.features import check_choice, check_range, preferences
from lmlab.data.features.preferences import KINDS, features  # noqa: F401
from lmlab.data.tokenizers.extended import SPEAKERS
from lmlab.objectives import likelihood, losses

READS = "preferences"  # the kind of examples that it learns from
CHATS = True           # its tokenizer needs a chat template
UNIT = "example"  # what the loss is a mean over
SPECIALS = SPEAKERS
WHOLE = False


def check(spec, kind="dpo", beta=0.1, desirable=1.0, undesirable=1.0, **_):
    """Raises a UserError where `spec` is no decoder, or a setting means nothing."""
    losses.require(spec, "preference", attends=("causal",))
    check_choice("kind", kind, KINDS)
    check_range("beta", beta, 0, 100)
    check_range("desirable", desirable, 0, 100)
    check_range("undesirable", undesirable, 0, 100)


def prepare(start, split, tokenizer, *, length, kind: str = "dpo"):
    """The split as features want it: its examples as they are compared, for dpo and kto each with "reference", the
    log-likelihoods of its two answers.

    start: () -> the LM that training begins from; not called for orpo. length: as in features.
    """
    found = preferences.compared(split.examples, kind)
    if kind == "orpo":
        return split._replace(examples=found)
    name = f"{split.meta['name']} ({split.split})"
    texts = preferences.answers(tokenizer, found, kind, name)
    fits = preferences.fitting(texts, length)
    lm = start()
    print(f"what the network says before training of the {2 * len(fits)} answers of {name} is computed",
          file=sys.stderr)
    logp = np.zeros((len(found), 2))
    logp[fits] = likelihood.of_texts(lm, [text for number in fits for text in texts[number]])[:, 0].reshape(-1, 2)
    return split._replace(examples=[{**one, "reference": pair} for one, pair in zip(found, logp.tolist())])


def loss(apply, params, batch, keys_B=None, *, vocab_size, kind: str = "dpo", beta: float = 0.1,
         desirable: float = 1.0, undesirable: float = 1.0, chunk: int = 0):
    """A loss of pairs of answers, in nats, a mean over the pairs.

    Args:
      apply, params, keys_B, vocab_size, chunk: as in causal.loss.
      batch: as features.preferences has it: pair k of a row in segments 2 k + 1 and 2 k + 2.
      kind: dpo: -log sigmoid(beta (r(chosen) - r(rejected))), r being log p less that of the reference (equation 7 of
        the paper). orpo: -m(chosen) - beta log sigmoid(o(chosen) - o(rejected)), m being the mean of log p over the
        answer's tokens and o = log(e^m / (1 - e^m)) (equations 3 to 7). kto: desirable (1 - sigmoid(beta (r - z))) for
        a good answer, undesirable (1 - sigmoid(beta (z - r))) for another, z being the mean of r over the row's answers
        that belong to another prompt, at least 0 and without a gradient (equation 8): a row is the paper's microbatch,
        so that the loss does not hang on how a batch is cut up.
      beta: how far the network may go from the reference; of orpo the weight of the second term, the paper's lambda.
      desirable, undesirable: the weights of good and of other answers in kto.
    Returns:
      ({"loss"}, {"accuracy", "margin", "log_ratio"}), a (sum, weight) each: the share of pairs (of kto: answers) that
      are told right; the mean of what the sigmoid is taken of; the mean of r over the answers, of kto over those of
      another prompt, where it is the paper's estimate of the KL divergence (none for orpo).
    """
    count = 2 * batch["pairs"].shape[1]
    logp_BA, tokens_BA, terms = losses.log_likelihoods(apply, params, batch, keys_B, count, vocab_size, chunk)
    in_pairs = lambda a_BA: a_BA.reshape(len(a_BA), -1, 2)
    logp_BS2, tokens_BS2, pairs_BS = in_pairs(logp_BA), in_pairs(tokens_BA), batch["pairs"].astype(jnp.float32)
    mean = lambda each_BS: ((each_BS * pairs_BS).sum(), pairs_BS.sum())
    if kind == "orpo":
        mean_BS2 = jnp.where(tokens_BS2 > 0, logp_BS2 / jnp.maximum(tokens_BS2, 1), -1)
        odds_BS2 = mean_BS2 - jnp.log(-jnp.expm1(jnp.minimum(mean_BS2, -1e-6)))
        margin_BS = odds_BS2[..., 0] - odds_BS2[..., 1]
        each_BS, more = -mean_BS2[..., 0] - beta * jax.nn.log_sigmoid(margin_BS), {}
    else:
        ratio_BS2 = logp_BS2 - batch["reference"]
        if kind == "dpo":
            margin_BS = beta * (ratio_BS2[..., 0] - ratio_BS2[..., 1])
            each_BS, more = -jax.nn.log_sigmoid(margin_BS), {"log_ratio": mean(ratio_BS2.mean(-1))}
        else:
            other_BS = jax.lax.stop_gradient(ratio_BS2[..., 1])
            z_B = jnp.maximum(0, (other_BS * pairs_BS).sum(1) / jnp.maximum(pairs_BS.sum(1), 1))
            good_BS = batch["good"] > 0
            margin_BS = beta * jnp.where(good_BS, 1, -1) * (ratio_BS2[..., 0] - z_B[:, None])
            each_BS = jnp.where(good_BS, desirable, undesirable) * jax.nn.sigmoid(-margin_BS)
            more = {"log_ratio": mean(other_BS)}
    return {"loss": mean(each_BS), **terms}, {"accuracy": mean(margin_BS > 0), "margin": mean(margin_BS), **more}
