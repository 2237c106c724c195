"""Every preset builds, and has as many parameters as its paper, and as transformers' model of the same name."""

import flax.linen as nn
import jax
import pytest

from lmlab import models
from lmlab.models import presets, transformer
from lmlab.utils import trees
from lmlab.utils.errors import UserError

# preset: (vocabulary, millions of parameters as published: papers' tables, or the counts on the models' cards).
PUBLISHED = {
    "transformer:base": (37000, 63.1), "transformer:big": (37000, 213),  # the paper rounds the first to 65
    "bert:base": (30522, 110), "bert:large": (30522, 336), "roberta:base": (50265, 125), "roberta:large": (50265, 355),
    "gpt2:small": (50257, 124.4), "gpt2:medium": (50257, 354.8), "gpt2:large": (50257, 774.0),
    "gpt2:xl": (50257, 1557.6),
    "t5:small": (32128, 60.5), "t5:base": (32128, 222.9), "t5:large": (32128, 737.7),
    "t5_v1_1:small": (32128, 77.0), "t5_v1_1:base": (32128, 247.6), "t5_v1_1:large": (32128, 783.2),
    "bart:base": (50265, 139.4), "bart:large": (50265, 406.3), "marian:base": (58101, 73.9),
    "llama2:7b": (32000, 6738), "llama2:13b": (32000, 13016), "llama2:70b": (32000, 68977),
    "llama3:8b": (128256, 8030), "llama3:70b": (128256, 70554), "mistral:7b": (32000, 7242),
    "qwen2:0.5b": (151936, 494), "qwen2:7b": (152064, 7616), "qwen3:0.6b": (151936, 596), "qwen3:8b": (151936, 8191),
    "gemma2:2b": (256000, 2614), "gemma2:9b": (256000, 9242), "gemma3:1b": (262144, 1000), "gemma3:4b": (262208, 3880),
    "olmo2:1b": (100352, 1485), "olmo2:7b": (100352, 7299), "olmo2:13b": (100352, 13716),
    "smollm2:135m": (49152, 134.5), "smollm2:360m": (49152, 361.8),
}
ALL = [f"{family}:{size}" for family, (_, sizes) in presets.FAMILIES.items() for size in sizes]


def shapes(name, **changes):
    """The parameters of a preset, as shapes: nothing is allocated."""
    model = models.build("transformer", **presets.get(name, **changes))
    return nn.meta.unbox(jax.eval_shape(lambda: transformer.init(model, jax.random.key(0))))


@pytest.mark.parametrize("name", ALL)
def test_parameters_are_as_many_as_published(name):
    vocabulary, millions = PUBLISHED[name]
    assert trees.count(shapes(name, vocab_size=vocabulary)) == pytest.approx(millions * 1e6, rel=0.01)


def _plain(t, name, **more):
    """Spec -> the config of `name`, its numbers under transformers' usual names."""
    def make(s):
        known = {"num_hidden_layers": s.layers, "hidden_size": s.width, "num_attention_heads": s.heads,
                 "intermediate_size": s.hidden, "vocab_size": s.vocab_size,
                 "max_position_embeddings": s.context + s.position_offset}
        return getattr(t, f"{name}Config")(**known | {key: f(s) for key, f in more.items()})
    return make


def theirs(t):
    """family -> (transformers' class, Spec -> its config)."""
    grouped = dict(num_key_value_heads=lambda s: s.groups, tie_word_embeddings=lambda s: s.tied,
                   head_dim=lambda s: s.head_size)
    seq2seq = lambda name: _plain(t, name, d_model=lambda s: s.width, max_position_embeddings=lambda s: s.context,
                                  encoder_layers=lambda s: s.encoder_layers,
                                  decoder_layers=lambda s: s.layers, encoder_ffn_dim=lambda s: s.hidden,
                                  decoder_ffn_dim=lambda s: s.hidden, encoder_attention_heads=lambda s: s.heads,
                                  decoder_attention_heads=lambda s: s.heads)
    t5 = lambda s: t.T5Config(vocab_size=s.vocab_size, d_model=s.width, d_kv=s.head_size, d_ff=s.hidden,
                              num_layers=s.encoder_layers, num_decoder_layers=s.layers, num_heads=s.heads,
                              feed_forward_proj="gated-gelu" if s.activation == "geglu" else "relu",
                              tie_word_embeddings=s.tied)
    gpt2 = lambda s: t.GPT2Config(vocab_size=s.vocab_size, n_embd=s.width, n_layer=s.layers, n_head=s.heads,
                                  n_inner=s.hidden, n_positions=s.context)
    plain = {family: (f"{name}ForCausalLM", _plain(t, name, **grouped)) for family, name in dict(
        llama2="Llama", llama3="Llama", smollm2="Llama", mistral="Mistral", qwen2="Qwen2", qwen3="Qwen3",
        gemma2="Gemma2", olmo2="Olmo2").items()}
    return plain | {
        "gemma3": ("Gemma3ForCausalLM", _plain(t, "Gemma3Text", **grouped)),
        "bert": ("BertForPreTraining", _plain(t, "Bert")),
        "roberta": ("RobertaForMaskedLM", _plain(t, "Roberta", type_vocab_size=lambda s: s.token_types)),
        "gpt2": ("GPT2LMHeadModel", gpt2), "t5": ("T5ForConditionalGeneration", t5),
        "t5_v1_1": ("T5ForConditionalGeneration", t5), "bart": ("BartForConditionalGeneration", seq2seq("Bart")),
        "marian": ("MarianMTModel", seq2seq("Marian"))}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ALL if not name.startswith("transformer:")])
def test_parameters_are_those_of_transformers_to_the_last(name):
    """transformers' model is made on torch's meta device, which allocates nothing."""
    torch, t = pytest.importorskip("torch"), pytest.importorskip("transformers")
    family = name.split(":")[0]
    kind, config = theirs(t)[family]
    spec = transformer.Spec(**presets.get(name, vocab_size=PUBLISHED[name][0]))
    with torch.device("meta"):
        reference = getattr(t, kind)(config(spec))
    # Marian's sinusoids are parameters there; the bias of the logits is none; the head of T5 v1.1 is tied at first.
    expected = sum(p.numel() for key, p in reference.named_parameters()
                   if "embed_positions" not in key or family != "marian")
    apart = {"bart": spec.vocab_size, "marian": spec.vocab_size, "t5_v1_1": spec.vocab_size * spec.width}.get(family, 0)
    assert trees.count(shapes(name, vocab_size=spec.vocab_size)) == expected + apart


def test_every_family_has_a_published_count():
    assert set(PUBLISHED) == set(ALL)


def test_a_size_may_be_left_out_and_values_changed():
    assert presets.get("gpt2") == presets.get("gpt2:small")
    changes = dict(context=256, layers=1)
    assert presets.get("gpt2:medium", **changes) == presets.get("gpt2:medium") | changes
    presets.get("gpt2")["layers"] = 99
    assert presets.get("gpt2")["layers"] == 12


@pytest.mark.parametrize("name,message", [
    ("gtp2", r"'gtp2' is no family of models; did you mean 'gpt2'\?.*one of transformer, bert"),
    ("gpt2:mediun", r"'mediun' is no size of gpt2; did you mean 'medium'\?.*one of small, medium, large, xl"),
    ("", "'' is no family of models"),
])
def test_unknown_names_are_refused(name, message):
    with pytest.raises(UserError, match=message):
        presets.get(name)
