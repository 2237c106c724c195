"""The published example of sacrebleu, and its own evaluation of whole sets, through our counts."""

import importlib.util
import random

import numpy as np
import pytest
import sacrebleu

from lmlab.eval.metrics import interval, translation

# sacrebleu's own example: three sentences, two references each.
REFERENCES = [["The dog bit the man.", "The dog had bit the man."],
              ["It was not unexpected.", "No one was surprised."],
              ["The man bit him first.", "The man had bitten the dog."]]
FOUND = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
CHINESE = ["今天天气很好，我们去公园玩。", "猫坐在垫子上", "他说：“GPT-2 有 1.5B 个参数。”"]


def test_the_published_example():
    scores = translation.scores(REFERENCES, FOUND)
    assert {name: round(value, 2) for name, value in scores.items()} == {"bleu": 48.53, "chrf": 59.73, "ter": 40.0}
    bleu = translation.measures(REFERENCES, FOUND)["bleu"]
    length, reference, *grams = bleu.counts_BX.sum(axis=0)
    assert [round(100 * n / of, 1) for n, of in zip(grams[:4], grams[4:])] == [82.4, 50.0, 45.5, 37.5]
    assert round(np.exp(1 - reference / length), 3) == 0.943
    assert bleu.signature.startswith("nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:")


def shuffled(seed, texts):
    """Each text with parts of it moved, dropped or doubled."""
    rng = random.Random(seed)
    return ["".join(rng.choices(text, k=len(text))) if rng.random() < 0.3 else text[rng.randint(0, 3):]
            for text in texts]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("language, texts", [("zh", CHINESE), ("", CHINESE), ("de", [t[0] for t in REFERENCES])])
def test_as_sacrebleu_of_the_whole(seed, language, texts):
    found, chinese = shuffled(seed, texts), texts is CHINESE
    expected = {"bleu": sacrebleu.corpus_bleu(found, [texts], tokenize="zh" if chinese else "13a"),
                "chrf": sacrebleu.corpus_chrf(found, [texts]),
                "ter": sacrebleu.corpus_ter(found, [texts], normalized=chinese, asian_support=chinese)}
    scores = translation.scores([[text] for text in texts], found, language)
    assert scores == pytest.approx({name: score.score for name, score in expected.items()})


def test_other_numbers_of_references():
    """One, two and two, against sacrebleu told so by None."""
    references = [REFERENCES[0][:1], *REFERENCES[1:]]
    streams = [[texts[0] for texts in references], [None, references[1][1], references[2][1]]]
    measures = translation.measures(references, FOUND)
    assert translation.scores(references, FOUND)["bleu"] == pytest.approx(sacrebleu.corpus_bleu(FOUND, streams).score)
    assert measures["bleu"].signature.startswith("nrefs:var|")
    with pytest.raises(ValueError, match="2 translations of 3 texts"):
        translation.scores(REFERENCES, FOUND[:2])


@pytest.mark.parametrize("texts, language, tokenizer", [
    (CHINESE, "", "tok:zh"), (CHINESE, "zh-CN", "tok:zh"), (CHINESE, "zh_Hant", "tok:zh"), (CHINESE, "en", "tok:13a"),
    (["今日は天気がいいです。", "猫が好きだ"], "", "tok:ja"), (["Das ist gut. (中文)"], "", "tok:13a"),
    (["1 2 3"], "", "tok:13a"), (["Это хорошо, правда?"], "", "tok:13a")])
def test_the_script_chooses_the_tokenizer(texts, language, tokenizer):
    if tokenizer == "tok:ja":
        tokenizer = "tok:ja-mecab" if importlib.util.find_spec("MeCab") else "tok:char"
    references = [[text] for text in texts]
    assert tokenizer in translation.measures(references, texts, language)["bleu"].signature
    scores = translation.scores(references, texts, language)
    assert scores["chrf"] == 100 and scores["ter"] == 0
    assert scores["bleu"] == pytest.approx(0 if texts == ["1 2 3"] else 100)  # it has no run of four words


def test_the_interval_is_that_of_sacrebleu(monkeypatch):
    """Its own bootstrap, with other draws: mean and half width agree within what 1000 trials leave open."""
    monkeypatch.setenv("SACREBLEU_SEED", "5")
    texts = [text for text, _ in REFERENCES] * 10
    found = shuffled(1, texts)
    theirs = sacrebleu.BLEU().corpus_score(found, [texts], n_bootstrap=1000)
    measure = translation.measures([[text] for text in texts], found)["bleu"]
    low, high = interval.bootstrap(interval.of_sums(measure.of_sums), measure.counts_BX)
    assert (high - low) / 2 == pytest.approx(theirs._ci, rel=0.15)
    assert (high + low) / 2 == pytest.approx(theirs._mean, abs=0.3 * theirs._ci)
