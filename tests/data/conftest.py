"""One cache folder for the whole run, so that no test reads or writes the user's."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory):
    """$LMLAB_CACHE in a temporary folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def docs():
    """The embedded corpus."""
    from lmlab.data import corpus
    return corpus.build()


@pytest.fixture
def small(tmp_path):
    """A corpus of 60 short documents, no two alike, in a file of the user's own."""
    import json

    from lmlab.data import corpus
    lines = [json.dumps({"text": " ".join(f"w{i}-{j}" for j in range(1 + i % 7))}) for i in range(60)]
    (tmp_path / "small.jsonl").write_text("\n".join(lines), "utf-8")
    return corpus.build(path=str(tmp_path / "small.jsonl"), validation=0.2, test=0.1)
