"""lmlab: the whole life of a language model in one small JAX codebase.

    lm = lmlab.load("runs/x")
    lmlab.generate(lm, "ROMEO:", max_new_tokens=100, temperature=0.8)
    lmlab.pipeline("text-generation", "runs/x")("text")
"""

import importlib

__version__ = "0.1.0"

# Imported when first used: `import lmlab` itself costs nothing.
_HOME = {"load": "lmlab.run", "LM": "lmlab.run", "generate": "lmlab.decoding.text", "pipeline": "lmlab.pipelines"}
__all__ = list(_HOME)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module 'lmlab' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__():
    return [*globals(), *_HOME]
