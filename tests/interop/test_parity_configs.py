"""Our presets against the configs that transformers' classes have by default, which are published models'."""

import pytest

from lmlab.interop import configs
from lmlab.interop.families import FAMILIES
from lmlab.models import presets
from lmlab.models.spec import Spec

pytestmark = pytest.mark.slow


# class, our preset, and the fields in which the class is known to differ from the model that it is named after
@pytest.mark.parametrize("name,preset,differs", [
    ("GPT2Config", "gpt2:small", set()),
    ("BertConfig", "bert:base", set()),
    ("T5Config", "t5:small", set()),
    ("BartConfig", "bart:large", set()),
    ("RobertaConfig", "roberta:base", {"norm_eps", "token_types", "context"}),   # BERT's: 1e-12, 2, 512 in all
    ("LlamaConfig", "llama2:7b", {"norm_eps", "context"}),                       # LLaMA 1's: 1e-6, 2048
    ("MistralConfig", "mistral:7b", {"norm_eps", "context"}),
    ("Gemma2Config", "gemma2:2b", set()),
])
def test_a_class_by_default_is_the_published_model(name, preset, differs):
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, name)().to_dict()
    kwargs = configs.from_hf(FAMILIES[config["model_type"]], config)
    ours = Spec(vocab_size=config["vocab_size"], **presets.get(preset))
    assert set(configs.difference(ours, Spec(**kwargs))) <= differs
