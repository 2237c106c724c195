"""Every pipeline gives what transformers v4's gave for the same arguments (tests/golden), one text or many; and no
model meets a task that it cannot do with anything but one line."""

import importlib.util

import pytest

import lmlab
import tasks
from lmlab.utils.errors import UserError

TEXT = "the cat sat on the mat"
WRITERS = ("text-generation", "summarization", "translation", "text2text-generation", "conversational", "correction")
# Which kinds of model do what; the rest of them are refused. A task's first is that which the golden calls are of.
ABLE = {
    "text-generation": ("decoder", "prefix", "encoder-decoder"),
    "conversational": ("decoder", "prefix", "encoder-decoder"),
    "text-classification": ("single", "several", "number", "entailment", "decoder with a head"),
    "token-classification": ("tagging",),
    "question-answering": ("question_answering",),
    "multiple-choice": ("multiple_choice", "decoder"),
    "relation-extraction": ("relations",),
    "fill-mask": ("masked", "replaced"),
    "summarization": ("encoder-decoder", "decoder", "prefix"),
    "translation": ("encoder-decoder",),
    "text2text-generation": ("encoder-decoder",),
    "correction": ("encoder-decoder", "decoder", "prefix"),
    "feature-extraction": tuple(tasks.KINDS),
    "sentence-similarity": tuple(tasks.KINDS),
    "zero-shot-classification": ("entailment", "masked", "replaced", "decoder"),
}
CALLS = {
    "conversational": (([{"role": "user", "content": "who is here?"}],), {"max_new_tokens": 4}),
    "question-answering": ((), {"question": "who sat?", "context": TEXT}),
    "multiple-choice": ((), {"question": "who sat?", "choices": ["a cat", "a dog"]}),
    "relation-extraction": ((), {"text": TEXT, "entities": [
        {"start": n, "end": n + 3, "label": "animals"} for n in (0, 4, 8)]}),
    "fill-mask": (("the [MASK] sat",), {}),
    "sentence-similarity": (({"source_sentence": TEXT, "sentences": ["a dog", "the mat"]},), {}),
    "zero-shot-classification": ((TEXT,), {"candidate_labels": "animals, towns"}),
}


def pipeline(task, kind):
    """The pipeline of a tiny model; skips where the task's module is not there."""
    if importlib.util.find_spec("lmlab.pipelines." + task.replace("-", "_")) is None:
        pytest.skip(f"there is no lmlab.pipelines.{task.replace('-', '_')}")
    return lmlab.pipeline(task, tasks.model(kind))


def shape(value):
    """What tests/golden/make_pipelines.py notes of a value: here lists are of known length."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        found = [shape(item) for item in value]
        return [len(value), *(found[:1] if all(one == found[0] for one in found) else found)]
    return type(value).__name__


def fits(found, golden):
    """Whether a shape is the golden one, keys in their order, lists of length null being of any (above 0)."""
    if isinstance(golden, dict):
        return isinstance(found, dict) and list(found) == list(golden) and all(
            map(fits, found.values(), golden.values()))
    if isinstance(golden, list):
        count, *items = golden
        return (isinstance(found, list) and len(found) == len(golden) and found[0] in ((count,) if count is not None
                else range(1, 1000)) and all(map(fits, found[1:], items)))
    return found == golden


def same(found, golden):
    """Whether outputs are the same, numbers to 1e-5."""
    if isinstance(golden, dict):
        return list(found) == list(golden) and all(same(found[key], golden[key]) for key in golden)
    if isinstance(golden, list):
        return len(found) == len(golden) and all(map(same, found, golden))
    return found == pytest.approx(golden, abs=1e-5) if isinstance(golden, float) else found == golden


def plain(task):
    """The task's own name."""
    return "translation" if task.startswith("translation") else task


@pytest.mark.parametrize("task", dict.fromkeys(plain(call["task"]) for call in tasks.GOLDEN))
def test_what_comes_is_shaped_as_in_v4(task):
    for call in tasks.GOLDEN:
        if plain(call["task"]) != task:
            continue
        kinds = ABLE[task] if task == "zero-shot-classification" else [call["model"] or ABLE[task][0]]
        for kind in kinds:
            pipe = pipeline(task, kind)
            out = pipe(**call["settings"]) if call["inputs"] is None else pipe(call["inputs"], **call["settings"])
            assert fits(shape(out), call["shape"]), (call, kind, out)


def test_the_comparison_of_shapes_bites():
    golden = [2, {"label": "str", "score": "float"}]
    assert fits(shape([{"label": "a", "score": 0.5}] * 2), golden)
    for other in ([{"label": "a", "score": 0.5}], [{"label": "a", "score": 1}] * 2, [{"score": 0.5, "label": "a"}] * 2,
                  {"label": "a", "score": 0.5}, [[{"label": "a", "score": 0.5}] * 2], [{"label": "a"}] * 2, "a"):
        assert not fits(shape(other), golden)
    assert fits(shape([1.0]), [None, "float"]) and not fits(shape([]), [None, "float"])
    assert not same([{"score": 0.5}], [{"score": 0.5001}]) and not same(["a"], ["b"]) and not same(["a"], ["a", "b"])


MANY = ["the cat sat on the mat", "a dog", "paris is in france , who is here ? it is about towns and animals", "sport"]


@pytest.mark.parametrize("task, kind", [(task, kind) for task, kinds in ABLE.items() for kind in kinds
                                        if task != "sentence-similarity"])
def test_many_are_each_alone(task, kind):
    pipe, settings = pipeline(task, kind), {"max_new_tokens": 6, "temperature": 0} if task in WRITERS else {}
    inputs = MANY
    if task == "conversational":
        inputs = [[{"role": "user", "content": text}] for text in MANY]
    elif task == "question-answering":
        inputs = [{"question": "who is here ?", "context": text} for text in MANY]
    elif task == "multiple-choice":
        inputs = [{"question": text, "choices": ["a cat", "the dog in paris", "sport"]} for text in MANY]
    elif task == "relation-extraction":
        spans = [{"start": n, "end": n + 4, "label": label} for n, label in ((0, "a"), (6, "dog"), (12, "a"))]
        inputs = [{"text": text, "entities": [one for one in spans if one["end"] <= len(text)]} for text in MANY]
    elif task == "fill-mask":
        inputs = [f"{text} [MASK] on" for text in MANY] + ["[MASK] a [MASK]"]
    elif task == "zero-shot-classification":
        settings = {"candidate_labels": ["animals", "sport", "towns"]}
    together, alone = pipe(inputs, **settings), [pipe(one, **settings) for one in inputs]
    alone = [one[0] if isinstance(one, list) and not isinstance(found, list) else one
             for one, found in zip(alone, together, strict=True)]
    assert same(together, alone)


@pytest.mark.parametrize("kind", tasks.KINDS)
@pytest.mark.parametrize("task", ABLE)
def test_a_model_does_the_task_or_one_line_says_why_not(task, kind):
    args, settings = CALLS.get(task, ((TEXT,), {"max_new_tokens": 4} if task in WRITERS else {}))
    if kind in ABLE[task]:
        assert pipeline(task, kind)(*args, **settings)
    else:
        with pytest.raises(UserError) as caught:
            pipeline(task, kind)(*args, **settings)
        assert len(str(caught.value)) > 40


@pytest.mark.parametrize("alias, task, kind", [("sentiment-analysis", "text-classification", "single"),
                                               ("ner", "token-classification", "tagging"),
                                               ("translation_en_to_de", "translation", "encoder-decoder")])
def test_other_names_of_tasks(alias, task, kind):
    pipe, settings = pipeline(task, kind), {"temperature": 0} if task in WRITERS else {}
    assert lmlab.pipeline(alias, tasks.model(kind))(TEXT, **settings) == pipe(TEXT, **settings)


@pytest.mark.parametrize("task, near", [("sentiment-analisys", "'sentiment-analysis'"), ("fil-mask", "'fill-mask'"),
                                        ("token-clasification", "'token-classification'"), ("vqa", "there are: "),
                                        (3, "there are: ")])
def test_a_task_that_is_none_names_the_near_one(task, near):
    with pytest.raises(UserError, match=f"no pipeline.*{near}"):
        lmlab.pipeline(task, tasks.model("decoder"))
