"""Writes pipelines.json: what transformers v4's pipelines take and give, as shapes alone.

    python -m venv v4 && v4/bin/pip install "transformers<5" torch && v4/bin/python tests/golden/make_pipelines.py

Needs transformers < 5 (later ones lost several of these tasks), so no test runs it: what it wrote is kept beside it.
The networks are random and tiny, and so is the tokenizer; nothing is fetched.

pipelines.json is a list of {"task", "model" (which of a task's), "inputs", "settings", "shape"}. A shape is "str",
"float" or "int"; {key: shape} in the order of the keys; [length, shape] for a list whose items are alike, else [length,
shape, shape, ...], the length being null where it hangs on the network or the tokenizer and not on what was asked. v4's
numpy scalars are noted as plain numbers.

Not in it: "sentence-similarity", which is the hub's and no pipeline of the library; "conversational", gone since 4.42.
"""

import json
from pathlib import Path

import numpy as np
import tokenizers
import torch
import transformers
from transformers import PreTrainedTokenizerFast

TEXT = ["the cat sat on the mat", "a dog ran in the park", "Paris is in France", "who is here?", "it is about animals"]
CONTEXT = "the cat sat on the mat and a dog ran in the park"
LABELS = ["animals", "towns", "sport"]
CHAT = [{"role": "user", "content": "who is here?"}]
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
TINY = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=64)
LOOSE = {"token-classification": 0, "feature-extraction": 1}  # how deep in a text's output lengths are not asked for


def asked():
    """(task, model, inputs, settings) of every call."""
    short = {"max_new_tokens": 4}
    for inputs in (TEXT[0], TEXT[:1], TEXT[:2], CHAT, [CHAT], [CHAT, CHAT]):
        yield "text-generation", "", inputs, short
        yield "text-generation", "", inputs, {**short, "return_full_text": False}
    pair = {"text": TEXT[0], "text_pair": TEXT[1]}
    for model in ("single", "several", "number"):
        for inputs in (TEXT[0], TEXT[:1], TEXT[:2], pair, [pair], [pair, pair])[:6 if model == "single" else 3]:
            for settings in ({}, {"top_k": None}, {"top_k": 1}, {"top_k": 2}):
                yield "text-classification", model, inputs, settings
    for strategy in ("none", "simple", "first", "average", "max"):
        for inputs in (TEXT[0], TEXT[:1], TEXT[:2]):
            yield "token-classification", "", inputs, {"aggregation_strategy": strategy}
    one = {"question": "who sat?", "context": CONTEXT}
    none = {"handle_impossible_answer": True}
    for settings in ({}, {"top_k": 3}, none, {"top_k": 2, **none}):
        for inputs in (one, [one], [one, one]):
            yield "question-answering", "", inputs, settings
        yield "question-answering", "", None, {**one, **settings}
        yield "question-answering", "", None, {"question": [one["question"]] * 2, "context": [CONTEXT] * 2, **settings}
        yield "question-answering", "", None, {"question": [one["question"]] * 2, "context": CONTEXT, **settings}
    masked, twice = "the [MASK] sat on the mat", "the [MASK] sat on the [MASK]"
    for settings in ({}, {"top_k": 2}, {"targets": ["cat", "dog"]}, {"targets": "cat"},
                     {"targets": ["cat", "dog"], "top_k": 1}):
        for inputs in (masked, twice, [masked], [masked, masked], [masked, twice], [twice]):
            yield "fill-mask", "", inputs, settings
    for task in ("summarization", "translation", "translation_en_to_de", "text2text-generation"):
        for inputs in (TEXT[0], TEXT[:1], TEXT[:2]):
            yield task, "", inputs, short
    for inputs in (TEXT[0], TEXT[:1], TEXT[:2]):
        yield "feature-extraction", "", inputs, {}
    for inputs in (TEXT[0], TEXT[:1], TEXT[:2]):
        for labels in (LABELS, LABELS[:1], ", ".join(LABELS)):
            for settings in ({}, {"multi_label": True}, {"hypothesis_template": "it is about {}"}):
                yield "zero-shot-classification", "", inputs, {"candidate_labels": labels, **settings}


def make_tokenizer(marks=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")):
    """A tokenizer of whole words, BERT's around a text."""
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.decoder = tokenizers.decoders.WordPiece()
    made.train_from_iterator(TEXT, tokenizers.trainers.WordPieceTrainer(vocab_size=200, special_tokens=list(marks)))
    made.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", bos_token="[CLS]", eos_token="[SEP]", model_max_length=64, chat_template=TEMPLATE)


def make(task, model, tokenizer):
    """A pipeline of a random network."""
    size = len(tokenizer)
    torch.manual_seed(0)
    if task == "text-generation":
        network = transformers.GPT2LMHeadModel(transformers.GPT2Config(
            vocab_size=size, n_positions=64, n_embd=16, n_layer=2, n_head=2, bos_token_id=2, eos_token_id=3,
            pad_token_id=0))
    elif task.startswith(("summ", "trans", "text2")):
        network = transformers.T5ForConditionalGeneration(transformers.T5Config(
            vocab_size=size, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, pad_token_id=0, eos_token_id=3,
            decoder_start_token_id=0))
    else:
        names = {"token-classification": ["O", "B-PER", "I-PER"], "question-answering": ["start", "end"],
                 "zero-shot-classification": ["contradiction", "neutral", "entailment"]}.get(task, LABELS)
        names = names[:1] if model == "number" else names
        problem = {"single": "single_label_classification", "several": "multi_label_classification",
                   "number": "regression"}.get(model)
        config = transformers.BertConfig(vocab_size=size, **TINY, id2label=dict(enumerate(names)), problem_type=problem,
                                         label2id={name: i for i, name in enumerate(names)}, pad_token_id=0)
        kind = {"token-classification": transformers.BertForTokenClassification,
                "feature-extraction": transformers.BertModel,
                "question-answering": transformers.BertForQuestionAnswering, "fill-mask": transformers.BertForMaskedLM}
        network = kind.get(task, transformers.BertForSequenceClassification)(config)
        if task == "token-classification":
            network.classifier.bias.data[0] = -9  # so that there is an entity
    return transformers.pipeline(task, model=network.eval(), tokenizer=tokenizer, device="cpu")


def shape(value, loose=None):
    """The shape of a value; loose: from which depth on the lengths of lists are not asked for."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        deeper = None if loose is None else loose - 1
        found = [shape(item, deeper) for item in value]
        alike = all(one == found[0] for one in found)
        return [None if loose is not None and loose <= 0 else len(value), *(found[:1] if alike else found)]
    kinds = {str: "str", (float, np.floating): "float", (int, np.integer): "int"}
    return next(name for kind, name in kinds.items() if isinstance(value, kind))


def main():
    """Makes every call."""
    if not transformers.__version__.startswith("4."):
        raise SystemExit(f"transformers {transformers.__version__} is no v4")
    torch.set_grad_enabled(False)
    tokenizer, pipelines, calls = make_tokenizer(), {}, []
    for task, model, inputs, settings in asked():
        if (task, model) not in pipelines:
            pipelines[task, model] = make(task, model, tokenizer)
        pipe, loose = pipelines[task, model], None if task not in LOOSE else LOOSE[task] + isinstance(inputs, list)
        out = pipe(**settings) if inputs is None else pipe(inputs, **settings)
        calls.append({"task": task, "model": model, "inputs": inputs, "settings": settings, "shape": shape(out, loose)})
    rows = ",\n".join(json.dumps(call) for call in calls)
    Path(__file__).with_name("pipelines.json").write_text(f"[\n{rows}\n]\n", "utf-8")


if __name__ == "__main__":
    main()
