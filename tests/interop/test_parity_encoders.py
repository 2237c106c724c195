"""BERT and RoBERTa against transformers': logits, losses, bare encoders, and back."""

import numpy as np
import pytest

from lmlab import interop
from lmlab.objectives import losses

pytestmark = pytest.mark.slow
RNG = np.random.default_rng(0)
TOKENS, TYPES = RNG.integers(3, 53, (3, 11)), RNG.integers(0, 2, (3, 11))
LABELS = np.where(RNG.random((3, 11)) < 0.4, TOKENS, -100)

BERT = dict(vocab_size=53, hidden_size=24, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40,
            max_position_embeddings=16, pad_token_id=0)
ROBERTA = dict(BERT, max_position_embeddings=18, pad_token_id=1, bos_token_id=0, eos_token_id=2)
CASES = {
    "bert pre-training": ("BertForPreTraining", BERT, dict(pooler=True, head="transform", tied=True)),
    "bert masked": ("BertForMaskedLM", dict(BERT, hidden_act="relu", type_vocab_size=3, layer_norm_eps=1e-3),
                    dict(pooler=False, activation="relu", token_types=3)),
    "bert untied": ("BertForPreTraining", dict(BERT, tie_word_embeddings=False), dict(tied=False)),
    "roberta": ("RobertaForMaskedLM", ROBERTA, dict(position_offset=2, context=16, token_types=2)),
    "roberta, one type, other padding, untied": (
        "RobertaForMaskedLM", dict(ROBERTA, type_vocab_size=1, pad_token_id=2, eos_token_id=1,
                                   tie_word_embeddings=False), dict(position_offset=3, context=15, tied=False)),
}


def inputs_of(config, mask):
    """(what transformers takes, what ours does): padding before and behind, each family's positions."""
    pad = config["pad_token_id"]
    tokens, types = np.where(mask > 0, TOKENS, pad), np.minimum(TYPES, config.get("type_vocab_size", 2) - 1)
    counted = np.maximum(mask.cumsum(1) - 1, 0) if pad else np.broadcast_to(np.arange(11), mask.shape)
    theirs = dict(input_ids=tokens, attention_mask=mask, token_type_ids=types)
    return theirs, (tokens, mask, counted), dict(types_BT=types)


def masked_loss(logits, labels):
    """Mean over the labels that are not -100."""
    return np.asarray(losses.cross_entropy(logits, np.maximum(labels, 0))[0])[labels >= 0].mean()


@pytest.mark.parametrize("case", CASES)
def test_logits_and_loss(case, oracle, apply, close, mask, tmp_path):
    name, config, fields = CASES[case]
    network = oracle.make(name, tmp_path / "theirs", **config)
    loaded = interop.load(tmp_path / "theirs")
    assert {field: loaded.kwargs[field] for field in fields} == fields
    theirs, args, kw = inputs_of(config, mask)
    labels = np.where(mask > 0, LABELS, -100)
    expected = oracle.call(network, **theirs, labels=labels, **(
        {"next_sentence_label": np.array([0, 1, 0])} if fields.get("pooler") else {}))
    key = "prediction_logits" if "prediction_logits" in expected else "logits"
    logits = apply(loaded, *args, **kw)
    close(logits, expected[key], mask)
    if key == "logits":
        close(masked_loss(logits, labels)[None], expected["loss"][None])
    again, said = oracle.back(loaded, tmp_path / "ours")
    close(oracle.call(again, **theirs)[key], expected[key], mask)
    assert not said and type(again) is type(network)


def test_the_loss_of_both_pretraining_tasks(oracle, apply, close, mask, tmp_path):
    """Masked tokens plus sentence pairs; in rows whose first token is no padding, since it stands for the pair."""
    network = oracle.make("BertForPreTraining", tmp_path, **BERT)
    loaded, rows, pair = interop.load(tmp_path), slice(0, 2), np.array([0, 1])
    theirs, args, kw = inputs_of(BERT, mask)
    labels = np.where(mask > 0, LABELS, -100)
    expected = oracle.call(network, **{k: v[rows] for k, v in theirs.items()}, labels=labels[rows],
                           next_sentence_label=pair)
    x_BTD = apply(loaded, *args, method="hidden", **kw)
    _, pair_B2 = apply(loaded, x_BTD, method="pooled")
    close(pair_B2[rows], expected["seq_relationship_logits"])
    loss = masked_loss(apply(loaded, x_BTD, method="logits")[rows], labels[rows]) + np.mean(
        losses.cross_entropy(pair_B2[rows], pair)[0])
    close(loss[None], expected["loss"][None])


@pytest.mark.parametrize("name,pooler,prefixed", [("BertModel", True, False), ("BertModel", False, True),
                                                  ("BertModel", False, False), ("RobertaModel", True, False),
                                                  ("RobertaModel", True, True), ("RobertaModel", False, False)])
def test_bare_encoders(name, pooler, prefixed, oracle, apply, close, mask, tmp_path):
    """States, and the pooled one, of an encoder without a head, with the prefix of its names or without."""
    from safetensors.numpy import load_file, save_file
    config = BERT if name == "BertModel" else ROBERTA
    network = oracle.make(name, tmp_path, **config)
    path = tmp_path / "model.safetensors"
    prefix = f"{name[:-5].lower()}." if prefixed else ""
    save_file({prefix + key: value for key, value in load_file(path).items() if pooler or "pooler" not in key}, path)
    loaded = interop.load(tmp_path)
    assert loaded.kwargs["pooler"] == pooler and loaded.kwargs["head"] == "linear" and loaded.kwargs["tied"]
    assert loaded.extras["missing"] == ["head_transform", "head_bias", "pair_head" if pooler else "pooler"]
    theirs, args, kw = inputs_of(config, mask)
    expected = oracle.call(network, **theirs)
    x_BTD = apply(loaded, *args, method="hidden", **kw)
    close(x_BTD, expected["last_hidden_state"], mask)
    if pooler:
        close(apply(loaded, x_BTD, method="pooled")[0][:2], expected["pooler_output"][:2])
        again, said = oracle.back(loaded, tmp_path / "ours")
        close(oracle.call(again, **theirs)["last_hidden_state"], expected["last_hidden_state"], mask)
        assert not said and type(again) is type(network)
