"""States and sentence embeddings: against the network applied to each text alone, and pooling by hand."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

import lmlab
from commands import tiny
from lmlab import run
from lmlab.data import tokenizers
from lmlab.data.tokenizers import plain
from lmlab.decoding import embedding as embeddings
from lmlab.decoding.embedding import embed, states
from lmlab.models import transformer
from lmlab.models.spec import Spec
from lmlab.pipelines import feature_extraction, sentence_similarity
from lmlab.utils.errors import UserError

TEXTS = ["a few words", "", "春 眠", "x", "a longer text than the context has room for"]
CLS, EOD = 257, 256


@pytest.fixture(scope="module")
def make(lively):
    """A function that makes a random model over bytes that stand between a [CLS] and an end, of a context of 20, and
    what a folder says of its embeddings."""
    def made(embedding=None, **kwargs):
        """kwargs: of the Spec."""
        spec = Spec(**{"vocab_size": 258, "width": 16, "layers": 2, "heads": 2, "context": 20, "attends": "full",
                       **kwargs})
        model = transformer.Model(spec)
        params = lively(nn.meta.unbox(jax.jit(lambda key: transformer.init(model, key))(jax.random.key(0))))
        extras = {"extras": {"embedding": embedding}} if embedding else {}
        return run.LM(model, params, tokenizers.extend(plain.Bytes(), ("cls",)), ConfigDict(extras), 0)
    return made


@pytest.fixture(scope="module")
def encoder(make):
    """An encoder of which no folder says anything."""
    return make()


def alone(lm, text, length=20):
    """The states of a text by itself, with no padding, through the stacked model."""
    ids = [CLS, *text.encode()[:length - 2], EOD]
    return np.asarray(lm.model.apply({"params": lm.params}, np.array([ids]), method="hidden"))[0]


def test_a_batch_is_each_text_alone(encoder):
    for text, x_TD in zip(TEXTS, states(encoder, TEXTS), strict=True):
        np.testing.assert_allclose(x_TD, alone(encoder, text), atol=2e-5)


def test_more_texts_than_a_step_holds_keep_their_order(encoder, monkeypatch):
    monkeypatch.setattr(embeddings, "_ROWS", 2)
    for x_TD, expected in zip(states(encoder, TEXTS), [alone(encoder, text) for text in TEXTS], strict=True):
        np.testing.assert_allclose(x_TD, expected, atol=2e-5)


def test_the_call_gives_nested_lists_as_transformers_does(encoder):
    call = feature_extraction.make(encoder)
    one, many = call("x"), call(["x", "ab"])
    assert np.shape(one) == (1, 3, 16) and [np.shape(row) for row in many] == [(1, 3, 16), (1, 4, 16)]
    np.testing.assert_allclose(many[0], one, atol=1e-6)
    assert call([]) == [] and np.shape(call("x", pooled=True)) == (16,)
    assert np.shape(call(["x"], pooled=True)) == (1, 16)
    assert isinstance(one[0][0][0], float)


@pytest.mark.parametrize("embedding,expected", [
    (None, lambda x: x.mean(0)),
    ({"pooling": "cls", "normalise": False}, lambda x: x[0]),
    ({"pooling": "mean", "normalise": True}, lambda x: x.mean(0) / np.sqrt((x.mean(0) ** 2).sum())),
    ({"pooling": "cls", "normalise": True}, lambda x: x[0] / np.sqrt((x[0] ** 2).sum())),
])
def test_pooling(make, embedding, expected):
    lm = make(embedding)
    np.testing.assert_allclose(embed(lm, TEXTS), [expected(alone(lm, text)) for text in TEXTS], atol=2e-5)


def test_texts_are_cut_where_the_folder_says(make):
    lm = make({"pooling": "mean", "normalise": False, "length": 7})
    np.testing.assert_allclose(embed(lm, TEXTS), [alone(lm, text, 7).mean(0) for text in TEXTS], atol=2e-5)


def test_a_decoder_reads_what_generation_does_and_an_encoder_decoder_uses_its_encoder(make):
    decoder, both = make(attends="causal"), make(attends="causal", encoder_layers=2)
    apply = lambda lm, ids, method: np.asarray(lm.model.apply({"params": lm.params}, np.array([ids]), method=method))[0]
    np.testing.assert_allclose(states(decoder, ["ab"])[0], apply(decoder, [EOD, 97, 98], "hidden"), atol=2e-5)
    np.testing.assert_allclose(states(both, ["ab"])[0], apply(both, [97, 98, EOD], "encode"), atol=2e-5)


def test_similarity_is_the_cosine_of_embeddings(encoder):
    x_BD = embed(encoder, TEXTS)
    expected = [x @ x_BD[0] / np.sqrt((x @ x) * (x_BD[0] @ x_BD[0])) for x in x_BD[1:]]
    call = sentence_similarity.make(encoder)
    found = call({"source_sentence": TEXTS[0], "sentences": TEXTS[1:]})
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert all(isinstance(score, float) for score in found)
    assert call({"source_sentence": "x", "sentences": []}) == []
    np.testing.assert_allclose(call({"source_sentence": "x", "sentences": ["x"]}), [1.0], atol=1e-6)


@pytest.mark.parametrize("inputs", [
    "x", {"source_sentence": "x"}, {"source_sentence": "x", "sentences": "y"},
    {"source_sentence": 3, "sentences": ["y"]}, {"source_sentence": "x", "sentences": [1]}])
def test_what_is_no_sentence_is_one_line(encoder, inputs):
    with pytest.raises(UserError, match="sentence|no text"):
        sentence_similarity.make(encoder)(inputs)


def test_a_text_of_no_tokens_is_one_line(make):
    lm = make(attends="causal")
    lm.tokenizer.specials["bos"] = -1
    with pytest.raises(UserError, match="text 2 is empty"):
        states(lm, ["a", ""])


def test_pipelines_of_a_run():
    out = lmlab.pipeline("feature-extraction", str(tiny() / "run"))("the cat")
    assert np.shape(out)[0] == 1 and np.isfinite(out).all()
    call = lmlab.pipeline("sentence-similarity", str(tiny() / "run"))
    assert len(call({"source_sentence": "the", "sentences": ["the cat", "he"]})) == 2
