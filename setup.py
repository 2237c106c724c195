"""Packaging for lmlab: `pip install .`, or `./run.sh` in a checkout, which installs the pins of requirements.lock."""

from setuptools import find_packages, setup

# Lower bounds, never pins: a notebook keeps the jax it came with. Exact versions stand in requirements.lock.
CORE = [
    "absl-py>=2.1",
    "array_record>=0.8",
    "flax>=0.11",
    "gguf>=0.17",
    "grain>=0.2.12",
    "jax>=0.8",
    "jinja2>=3.1.6",  # chat templates
    "matplotlib>=3.8",
    "ml-dtypes>=0.5",
    "ml-collections>=1.1",
    "numpy>=2.0",
    "optax>=0.2.6",
    "orbax-checkpoint>=0.11.25",
    "pypi-simple>=1.6",  # finds an archive's address without building it (lmlab.data.catalog)
    "pyyaml>=6.0",  # a data set comes as YAML (lmlab.data.catalog)
    "sacrebleu>=2.5",  # BLEU, chrF and TER as they are published
    "safetensors>=0.5",
    "scikit-learn>=1.5",  # the baseline of labels (lmlab.eval.tasks)
    "sentencepiece>=0.2",
    "tensorboardX>=2.6.2",
    "tensorflow-datasets>=4.9.9",
    "tokenizers>=0.21",
    "tqdm>=4.66",
]

EXTRAS = {
    "cuda": ["jax[cuda12]"],
    "tpu": ["jax[tpu]"],
    "plan": ["libtpu>=0.0.51"],  # compiles for TPUs that are not there (lmlab.launch.plan)
    "dev": ["hypothesis>=6.100", "pytest>=8", "pytest-xdist>=3.6"],
    # Oracles of the tests, never imported by lmlab. torch, and peft, which wants it, come apart (./run.sh test --all).
    "parity": ["rouge-score>=0.1.2", "seqeval>=1.2.2", "transformers>=4.50"],
    # Builds the one dependency that exists only as source (promise); for the lock, so that the build is pinned too.
    "build": ["setuptools>=77"],
}

setup(
    name="lmlab",
    version="0.1.0",
    description="The whole life of a language model in one small JAX codebase",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["lmlab", "lmlab.*"]),
    install_requires=CORE,
    extras_require=EXTRAS,
)
