"""Labels of texts, and of pairs of texts."""

import functools

import numpy as np

from lmlab.data.features import labelled
from lmlab.decoding import classification, headed
from lmlab.eval.metrics import classification as metrics
from lmlab.eval.metrics import correlation, interval
from lmlab.eval.tasks import Task, by_length


def task(lm) -> Task:
    """The task of a model with a head for classification, by its config.objective.kind."""
    headed.check(lm, "classification")
    kind, labels = lm.config.objective.kind, lm.labels
    gold = lambda examples: (np.stack([labelled.target(one["label"], labels, kind) for one in examples]),)
    predict = lambda examples: classification.probabilities(
        lm, [one["text"] for one in examples], [one.get("pair") for one in examples])
    learned = functools.partial(linear, labels, kind)
    usual = functools.partial(_usual, labels, kind)
    name = "TF-IDF + ridge regression" if kind == "number" else "TF-IDF + logistic regression"
    return Task(predict, {name: learned, "mean" if kind == "number" else "majority": usual}, gold, STATISTICS[kind],
                slices=functools.partial(_slices, labels, kind),
                draw=functools.partial(_draw, labels) if kind == "single" else None)


def _of_one(metric):
    """A statistic of (probabilities_NC, targets_NC) by the numbers of the likeliest and the right label."""
    numbers = lambda said_NC, gold_NC: (gold_NC.argmax(1), said_NC.argmax(1), gold_NC.shape[1])
    return interval.OfWhole(lambda seen_C, *columns: metrics.scores(*numbers(*columns), seen_C)[metric],
                            lambda *columns: metrics.seen(*numbers(*columns)))


STATISTICS = {
    "single": {**{metric: _of_one(metric) for metric in ("accuracy", "macro_f1", "matthews")},
               "calibration_error": lambda said_NC, gold_NC: metrics.calibration_error(
                   gold_NC.argmax(1), said_NC)["calibration_error"]},
    "several": {metric: lambda said_NC, gold_NC, metric=metric: metrics.multi_label(
        gold_NC > 0.5, said_NC > 0.5)[metric] for metric in ("micro_f1", "macro_f1", "subset_accuracy")},
    "number": {metric: lambda said_N1, gold_N1, metric=metric: correlation.scores(gold_N1[:, 0], said_N1[:, 0])[metric]
               for metric in ("pearson", "spearman", "mean_squared_error")},
}


def _text(example):
    """What a bag of words is made of: a pair's second text in words of its own."""
    pair = example.get("pair")
    return example["text"] if pair is None else example["text"] + "\n" + "\n".join(f"2:{word}" for word in pair.split())


def linear(labels, kind, train, held):
    """TF-IDF of words and pairs of words (of characters, where no spaces set words apart), and a linear model."""
    from sklearn import feature_extraction, linear_model, multiclass, pipeline
    apart = sum(len(one["text"].split()) for one in train) / max(1, sum(len(one["text"]) for one in train)) > 0.05
    words = dict(analyzer="word", ngram_range=(1, 2)) if apart else dict(analyzer="char", ngram_range=(1, 3))
    vectors = feature_extraction.text.TfidfVectorizer(sublinear_tf=True, **words)
    target_NC = np.stack([labelled.target(one["label"], labels, kind) for one in train])
    texts = [list(map(_text, examples)) for examples in (train, held)]
    if kind == "number":
        model = pipeline.make_pipeline(vectors, linear_model.Ridge())
        return model.fit(texts[0], target_NC[:, 0]).predict(texts[1])[:, None]
    regression = linear_model.LogisticRegression(C=10.0, max_iter=1000)
    if kind == "several":
        return pipeline.make_pipeline(vectors, multiclass.OneVsRestClassifier(regression)).fit(
            texts[0], target_NC).predict_proba(texts[1])
    model = pipeline.make_pipeline(vectors, regression).fit(texts[0], target_NC.argmax(1))
    said_NC = np.zeros((len(held), len(labels)))
    said_NC[:, model.classes_] = model.predict_proba(texts[1])
    return said_NC


def _usual(labels, kind, train, held):
    """What is usual in training, whatever the text: the shares of the labels, the mean of the numbers."""
    usual_C = np.stack([labelled.target(one["label"], labels, kind) for one in train]).mean(0)
    return np.tile(usual_C, (len(held), 1))


def _slices(labels, kind, examples):
    """The examples of each label, where they are few, and of each quarter of the lengths."""
    slices = {}
    if kind == "single" and len(labels) <= 20:
        mine = [labelled.labels_of(one["label"], kind)[0] for one in examples]
        slices = {name: np.flatnonzero([label == name for label in mine]) for name in labels}
    return slices | by_length(examples)


def _draw(labels, folder, said_NC, gold_NC):
    """The confusion matrix as a picture."""
    from lmlab.utils import plots
    plots.confusion(folder / "confusion.png", metrics.confusion(gold_NC.argmax(1), said_NC.argmax(1), len(labels)),
                    labels)
