"""The oracle of parity: random models of transformers, their weights shaken, saved and compared with ours."""

import logging
import types

import jax
import numpy as np
import pytest

from lmlab import interop
from lmlab.models import transformer

TOLERANCE = 1e-5  # of the largest number, or of one
# Rows of 11 tokens: one whole, one padded behind, one padded before.
MASK = np.ones((3, 11), np.int32)
MASK[1, 7:] = MASK[2, :4] = 0


@pytest.fixture(scope="session")
def close():
    """A function that compares where a mask is on."""
    def compare(got, expected, mask=None):
        """Raises an AssertionError where they differ by over 1e-5 of the largest expected number (or of one)."""
        mask = np.ones(np.shape(expected)[:1], bool) if mask is None else np.asarray(mask, bool)
        got, expected = np.asarray(got)[mask], np.asarray(expected)[mask]
        off = np.abs(got - expected).max() / max(1, np.abs(expected).max())
        assert off < TOLERANCE, f"off by {off:.2e}"
    return compare


@pytest.fixture(scope="session")
def oracle():
    """torch and transformers, with what the tests of parity do with them."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")

    def make(name, folder, **config):
        """A random model of a class, its weights shaken so that nothing hides behind a zero or a one; saved."""
        torch.manual_seed(0)
        network = getattr(transformers, name)
        network = network._from_config(network.config_class(**config), attn_implementation="eager").eval()
        with torch.no_grad():
            for parameter in filter(lambda p: p.requires_grad, network.parameters()):  # sinusoids are none
                parameter.add_(0.1 * torch.randn_like(parameter))
            for buffer_name, buffer in network.named_buffers():
                if buffer_name.endswith("logits_bias"):
                    buffer.normal_()
        network.save_pretrained(folder)
        return network

    def call(network, **inputs):
        """What a model makes of numpy arrays, as numpy arrays."""
        with torch.no_grad():
            out = network(**{name: torch.tensor(np.asarray(value)).long() for name, value in inputs.items()})
        return {name: value.numpy() for name, value in out.items() if hasattr(value, "numpy")}

    def back(loaded, folder):
        """(the model that transformers loads from what we export, what it said): no weight missing, none left over."""
        architecture = interop.save(folder, loaded.kwargs, loaded.params)
        said = []
        handler = logging.Handler()
        handler.emit = lambda record: said.append(record.getMessage())
        logger = logging.getLogger("transformers")
        logger.addHandler(handler)
        try:
            again, report = getattr(transformers, architecture).from_pretrained(
                folder, output_loading_info=True, attn_implementation="eager")
        finally:
            logger.removeHandler(handler)
        assert not any(report.values()), report
        return again.eval(), said
    return types.SimpleNamespace(make=make, call=call, back=back)


@pytest.fixture(scope="session")
def apply():
    """A function that runs what interop.load gave, compiled: (loaded, tokens, ..., method=) -> arrays."""
    def run(loaded, *args, method=None, **kw):
        model = transformer.Model(transformer.Spec(**loaded.kwargs))
        return jax.jit(lambda params, args, kw: model.apply({"params": params}, *args, method=method, **kw))(
            loaded.params, args, kw)
    return run


@pytest.fixture(scope="session")
def mask():
    """Which of 3 rows of 11 tokens are no padding: all; all but the last four; all but the first four."""
    return MASK
