"""Weights from elsewhere and back: folders of Hugging Face's, GGUF files, and a catalog of models that install like
packages. Only formats that hold no code are read."""

from pathlib import Path

from lmlab.interop import huggingface
from lmlab.interop.huggingface import save
from lmlab.interop.loaded import Loaded

__all__ = ["Loaded", "load", "save"]


def load(source) -> Loaded:
    """Reads a folder of Hugging Face's, a .gguf file, or "catalog:NAME".

    Raises:
      UserError: where it is none of these, is damaged, or holds what lmlab cannot express.
    """
    if str(source).startswith("catalog:"):
        from lmlab.interop import catalog
        return load(catalog.folder(str(source).removeprefix("catalog:")))
    if Path(source).suffix == ".gguf":
        from lmlab.interop import gguf
        return gguf.load(source)
    return huggingface.load(source)
