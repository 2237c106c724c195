"""A network with a task's head in the place of its way out: parameters {"body": the network's, "task": the head's}."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmlab.models import layers, transformer
from lmlab.models.pooling import pooled


class Headed(nn.Module):
    """A network that gives `outputs` numbers for each token, or for each example of a row (Devlin et al. 2019).

    Attributes:
      body: a Transformer. outputs: C. pool: what is read of an example: its first state, the mean, or the last; "": all
        of them, each token having its own outputs. crf: whether the outputs are scores of tags that follow one another
        (Lafferty et al. 2001): the head then has "task_transitions" (C + 2, C), as models.crf takes them.
    """
    body: nn.Module
    outputs: int
    pool: str = "mean"
    crf: bool = False

    @property
    def spec(self):
        """The keyword arguments of the body."""
        return self.body.spec

    def setup(self):
        s = self.spec
        self.task = layers.Projection((s.width, self.outputs), ("embed", "position"), dtype=s.dtype,
                                      out_dtype=jnp.float32)
        if self.crf:
            self.transitions = self.param("task_transitions", nn.with_logical_partitioning(
                nn.initializers.zeros, ("position", None)), (self.outputs + 2, self.outputs))

    def __call__(self, tokens_BT, segments_BT=None, positions_BT=None, keys_B=None, **more):
        """Outputs of one example a row, (B, 1, C), or of each token, (B, T, C), float32."""
        x_BTD = self.hidden(tokens_BT, segments_BT, positions_BT, keys_B, **more)
        return self.score(x_BTD, jnp.ones_like(tokens_BT) if segments_BT is None else segments_BT, 1, keys_B)

    def hidden(self, *args, **kwargs):
        """The body's final states x_BTD."""
        return self.body.hidden(*args, **kwargs)

    def score(self, x_BTD, segments_BT, count, keys_B=None):
        """Outputs of the states of `count` examples a row, segment k being example k - 1: (B, count, C); (B, T, C)
        without a pool. Float32."""
        if self.pool:
            x_BTD = pooled(x_BTD, segments_BT, count, self.pool)
        return self.task(layers.dropout(x_BTD, self.spec.dropout, layers.fold_in(keys_B, 2 ** 19)))


def init(model, key):
    """Parameters of a Headed, boxed with the names of their logical axes."""
    return transformer.widened(model.init(key, jnp.zeros((1, 1), jnp.int32))["params"], model.spec)
