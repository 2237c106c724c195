"""Greedy decoding and beam search against transformers' generate, on tiny random models in ragged batches."""

import numpy as np
import pytest

from lmlab import interop, models
from lmlab.decoding import beam, cached
from lmlab.decoding.sampling import Sampler

pytestmark = pytest.mark.slow
VOCAB, COUNT = 19, 12
PROMPTS = [[5], [7, 3, 9, 4, 11], [6, 6, 8], [12, 4, 17, 3, 3, 10, 5]]
BOTH = dict(vocab_size=VOCAB, d_model=24, pad_token_id=0, decoder_start_token_id=0)
# Class, config, how far the weights are shaken, and which token ends a text: one that comes now and then.
CASES = {
    "gpt2": ("GPT2LMHeadModel", dict(vocab_size=VOCAB, n_embd=24, n_layer=2, n_head=4, n_positions=40,
                                     pad_token_id=0, bos_token_id=0, eos_token_id=1), 0.3, 1),
    "llama": ("LlamaForCausalLM", dict(vocab_size=VOCAB, hidden_size=24, intermediate_size=40, num_hidden_layers=2,
                                       num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=40,
                                       pad_token_id=0), 0.3, 16),
    "t5": ("T5ForConditionalGeneration", dict(BOTH, d_kv=10, d_ff=40, num_layers=2, num_heads=4, n_positions=16,
                                              relative_attention_num_buckets=8, relative_attention_max_distance=10),
           0.3, 10),
    "bart": ("BartForConditionalGeneration", dict(BOTH, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
                                                  decoder_attention_heads=4, encoder_ffn_dim=40, decoder_ffn_dim=40,
                                                  max_position_embeddings=16, forced_eos_token_id=None,
                                                  tie_word_embeddings=True), 0.15, 12),
}


@pytest.fixture(scope="module", params=CASES)
def pair(request, tmp_path_factory):
    """(theirs: settings -> the new tokens of each prompt; our model; our parameters; the end of document)."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    name, config, shake, eod = CASES[request.param]
    torch.manual_seed(1)
    network = getattr(transformers, name)
    network = network(network.config_class(**{"tie_word_embeddings": False, **config})).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(shake * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("theirs")
    network.save_pretrained(folder)
    loaded = interop.load(folder)
    encoder, longest = network.config.is_encoder_decoder, max(map(len, PROMPTS))
    tokens, mask = np.zeros((2, len(PROMPTS), longest), int)
    for b, prompt in enumerate(PROMPTS):
        at = slice(0, len(prompt)) if encoder else slice(longest - len(prompt), None)
        tokens[b, at], mask[b, at] = prompt, 1

    def theirs(**settings):
        out = network.generate(torch.tensor(tokens), attention_mask=torch.tensor(mask), max_new_tokens=COUNT,
                               do_sample=False, eos_token_id=eod, **settings)
        return [until(eod, row) for row in out[:, 1 if encoder else longest:].tolist()]
    return theirs, models.build("transformer", **loaded.kwargs), loaded.params, eod


def until(eod, tokens):
    return tokens[:tokens.index(eod) + 1] if eod in tokens else tokens[:COUNT]


def test_greedy(pair):
    theirs, model, params, eod = pair
    rows = cached.continuations(model, params, PROMPTS, Sampler(temperature=0), count=COUNT, eod=eod, start=0)
    assert [until(eod, row) for row in np.array(list(rows)).T.tolist()] == theirs(num_beams=1)


@pytest.mark.parametrize("beams,penalty", [(4, 0.0), (4, 1.0), (3, 0.4)])
def test_beams(pair, beams, penalty):
    """early_stopping="never" is theirs that ends only where nothing better can come; ours always does."""
    theirs, model, params, eod = pair
    found = beam.search(model, params, PROMPTS, beams=beams, count=COUNT, length_penalty=penalty, eod=eod, start=0)
    expected = theirs(num_beams=beams, length_penalty=penalty, early_stopping="never")
    assert [hypothesis.tokens for hypothesis in found] == expected
