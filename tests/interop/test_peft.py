"""Adapters against PEFT itself: its adapter loads and gives its logits, ours loads there and gives ours."""

import json

import numpy as np
import pytest

import kinds
from lmlab import interop, models
from lmlab.adapt import lora
from lmlab.interop import peft as adapters
from lmlab.interop import weights
from lmlab.utils import trees
from lmlab.utils.errors import UserError

SMALL = dict(vocab_size=61, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=36)
IDS = np.random.default_rng(0).integers(0, 61, (2, 9))
KINDS = {  # a model of transformers; modules that get an adapter
    "llama": (lambda t: t.LlamaForCausalLM(t.LlamaConfig(**SMALL, num_key_value_heads=2)),
              ["q_proj", "v_proj", "o_proj", "gate_proj", "down_proj"]),
    "gpt2": (lambda t: t.GPT2LMHeadModel(t.GPT2Config(vocab_size=61, n_embd=24, n_layer=2, n_head=4)),
             ["c_attn", "c_proj", "c_fc"]),
    "bert": (lambda t: t.BertForMaskedLM(t.BertConfig(**SMALL)), ["query", "value", "dense"])}


@pytest.fixture(scope="module", params=KINDS)
def case(request, tmp_path_factory):
    """(folder of the base, torch model with an adapter that does something, folder of the adapter)."""
    torch, transformers, peft = (pytest.importorskip(name) for name in ("torch", "transformers", "peft"))
    torch.manual_seed(0)
    make, modules = KINDS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    base = make(transformers).eval()
    base.save_pretrained(folder / "base")
    targets = modules if request.param != "bert" else r".*encoder.layer.*\.(query|value|dense)"
    model = peft.get_peft_model(base, peft.LoraConfig(r=3, lora_alpha=7, target_modules=targets)).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder / "adapter")
    return folder, model


def torch_logits(model):
    import torch
    with torch.no_grad():
        return model(torch.tensor(IDS)).logits.numpy()


def read(folder):
    """(spec, params) of a folder."""
    loaded = interop.load(folder)
    return models.find("transformer").Spec(**loaded.kwargs), loaded.params


def logits(spec, params):
    return np.asarray(models.find("transformer").Model(spec).apply({"params": params}, IDS))


@pytest.mark.slow
def test_an_adapter_of_peft_gives_its_logits_and_so_it_does_merged(case):
    folder, model = case
    spec, params = read(folder / "base")
    adapted = adapters.load(folder / "adapter", spec, params)
    expected, plain = torch_logits(model), logits(spec, params)
    assert np.abs(expected - plain).max() > 0.05
    np.testing.assert_allclose(logits(spec, adapted), expected, atol=1e-5)
    np.testing.assert_allclose(logits(spec, lora.merge(adapted)), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_an_adapter_of_ours_gives_our_logits_there(whose, case, tmp_path):
    """A new one, and one that came from there and goes back."""
    import jax
    import peft
    import transformers
    folder, _ = case
    spec, params = read(folder / "base")
    if whose == "ours":
        adapted = lora.add(params, jax.random.key(0), rank=4, alpha=6.0, pattern="attention|ff")
        rng = np.random.default_rng(1)
        adapted = trees.map_with_path(lambda path, x: rng.normal(size=x.shape).astype(np.float32) * 0.3
                                      if path.endswith("lora_b") else x, adapted)
    else:
        adapted = adapters.load(folder / "adapter", spec, params)
    adapters.save(tmp_path, spec, lora.extract(adapted), str(folder / "base"))
    architecture = json.loads((folder / "base" / "config.json").read_text())["architectures"][0]
    base = getattr(transformers, architecture).from_pretrained(folder / "base")
    model = peft.PeftModel.from_pretrained(base, tmp_path).eval()
    np.testing.assert_allclose(torch_logits(model), logits(spec, adapted), atol=1e-5)


@pytest.mark.parametrize("changes, message", [
    (dict(peft_type="IA3"), "peft_type='IA3' is not supported; LORA is"),
    (dict(use_dora=True), "use_dora='True' is not"),
    (dict(r="4"), "r='4' and lora_alpha='8' must be"), (dict(bias="all"), "only 'none' is")])
def test_what_adapters_here_have_not_is_told(changes, message, tmp_path):
    values = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", **changes}
    (tmp_path / "adapter_config.json").write_text(json.dumps(values))
    weights.write(tmp_path, {"x": np.zeros(1)}, adapters.FILE)
    spec, params = kinds.SMALL, {}
    with pytest.raises(UserError, match=message):
        adapters.load(tmp_path, models.find("transformer").Spec(**spec), params)


def test_tensors_that_have_no_place_or_another_shape_are_told(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8}))
    model, params = kinds.build("llama")
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    weights.write(tmp_path, {"base_model.model.other.lora_A.weight": np.zeros(1)}, adapters.FILE)
    with pytest.raises(UserError, match=r"'base_model.model.other.lora_A.weight' \(1 in all\) has no place"):
        adapters.load(tmp_path, model.spec, params)
    weights.write(tmp_path, {name.format("A"): np.zeros((4, 5)), name.format("B"): np.zeros((16, 4))}, adapters.FILE)
    with pytest.raises(UserError, match=r"has shape \(4, 5\), and in this network \(4, 16\)"):
        adapters.load(tmp_path, model.spec, params)
