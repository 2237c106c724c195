"""Compiles a config's train step for devices that are not there, and tells memory, collectives, time.

    ./run.sh plan --config=configs/llama.py:base --topology=v5e:16x16 --config.mesh.data=16 --config.mesh.fsdp=16 \
        --config.model.remat=full --config.train.batch=512
    ./run.sh plan --config=configs/llama.py:base --topology=v5e:16x16 --search
    ./run.sh plan --config=configs/llama.py:base --config.mesh.data=1 --config.mesh.fsdp=-1 --config.model.remat=full \
        --config.train.batch=16 --grow=v5e:4x4,v5e:8x8,v5e:16x16 --out=growth
    ./run.sh plan --config=configs/gpt.py:small --topology=cpu:8

TPUs need the libtpu wheel beside jax: pip install 'lmlab[plan]'.
"""

import sys

from absl import flags
from ml_collections import config_flags

from lmlab.utils import cli
from lmlab.utils.errors import UserError

CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment, as configs/gpt.py:gpt2.", lock_config=True)
TOPOLOGY = flags.DEFINE_string("topology", "", "The devices, as v5e:16x16, v5p:4x4x4, cpu:8.")
VOCABULARY = flags.DEFINE_integer("vocab_size", 0, "Of the tokenizer; 0: what config.tokenizer says.")
SEARCH = flags.DEFINE_bool("search", False, "Try at most six meshes, remat policies and batches, and tell the best.")
GROW = flags.DEFINE_list("grow", [], "Topologies, from few devices to many: one plan each, and a picture in --out.")
OUT = flags.DEFINE_string("out", "", "A folder for what --grow finds.")


def main():
    """Prints the plan."""
    if CONFIG.value is None:
        raise UserError("plan needs --config; as configs/gpt.py:gpt2")
    if bool(TOPOLOGY.value) == bool(GROW.value) or bool(GROW.value) != bool(OUT.value):
        raise UserError("plan needs --topology, as v5e:16x16; or --grow=v5e:4x4,v5e:8x8 and --out=FOLDER")
    import jax
    kind, _, count = (TOPOLOGY.value or GROW.value[-1]).partition(":")
    if kind == "cpu" and count.isdecimal():
        jax.config.update("jax_num_cpu_devices", max(1, int(count)))
    jax.config.update("jax_platforms", "cpu")
    from lmlab.launch import growth, plan, report, search
    if GROW.value:
        print(growth.draw(growth.grow(CONFIG.value, GROW.value, VOCABULARY.value), OUT.value))
    elif SEARCH.value:
        tell = lambda candidate: print(f"compiling {candidate.flags}", file=sys.stderr, flush=True)
        results = search.search(CONFIG.value, TOPOLOGY.value, VOCABULARY.value, tell=tell)
        print(report.tried(results))
    else:
        found = plan.of_config(CONFIG.value, TOPOLOGY.value, VOCABULARY.value)
        print(report.table(found))
        if not found.fits:
            raise UserError(report.remedy(found))


if __name__ == "__main__":
    cli.run(main)
