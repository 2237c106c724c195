"""A rival of ours in a process of its own: a plain GPT-2 in PyTorch, or transformers' own, that trains (or, of
transformers, generates) when it is told.

    python tests/rivals/gpt.py '{"way": "eager", "layers": 4, "width": 128, "heads": 4, "context": 64, "batch": 12,
                                 "vocab_size": 65, "dtype": "float32", "device": "cpu"}'

It prints one JSON object when it is ready, {"parameters"}; then reads numbers of steps or tokens, a line each, and
answers {"seconds", "result"}, the result being the last loss or token. lmlab/bench/rivals.py speaks to it.
"""

import contextlib
import json
import math
import os
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """Pre-norm attention and feed-forward, without biases."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x):
        """x: (batch, length, width)."""
        B, T, D = x.shape
        q, k, v = (part.view(B, T, self.heads, D // self.heads).transpose(1, 2)
                   for part in self.qkv(self.norm1(x)).split(D, dim=2))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(B, T, D))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class GPT(nn.Module):
    """GPT-2 (Radford et al. 2019): learned positions, the embedding is the way out."""

    def __init__(self, vocab_size, context, layers, width, heads):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocab_size, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                last = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * layers) if last else 0.02)

    def forward(self, tokens, targets):
        """The mean loss."""
        x = self.tokens(tokens) + self.places.weight[:tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.tokens.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


class Transformers(nn.Module):
    """transformers' GPT-2 of the same shape, given our targets."""

    def __init__(self, vocab_size, context, layers, width, heads):
        super().__init__()
        from transformers import GPT2Config, GPT2LMHeadModel
        self.model = GPT2LMHeadModel(GPT2Config(
            vocab_size=vocab_size, n_positions=context, n_embd=width, n_layer=layers, n_head=heads, resid_pdrop=0.0,
            embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0, use_cache=False))

    def forward(self, tokens, targets):
        """The mean loss."""
        return F.cross_entropy(self.model(tokens).logits.flatten(0, 1), targets.flatten())


def trainer(way, *, batch, dtype, device, rate=1e-6, **shape):
    """(steps -> the last loss, the number of parameters) of a model under AdamW with clipping, on random tokens."""
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")  # TF32 where there is any, as XLA does by itself
    model = (Transformers if way == "transformers" else GPT)(**shape).to(device)
    run = torch.compile(model) if way == "compiled" else model
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
                                  lr=rate, betas=(0.9, 0.95), fused=True)
    tokens, targets = torch.randint(shape["vocab_size"], (2, batch, shape["context"]), device=device)
    narrow = dtype != "float32"
    cast = lambda: torch.autocast(device, getattr(torch, dtype)) if narrow else contextlib.nullcontext()

    def steps(number):
        for _ in range(number):
            with cast():
                loss = run(tokens, targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return loss.item()
    return steps, sum(p.numel() for p in model.parameters())


def generator(*, batch, prompt, dtype, device, **shape):
    """(tokens -> the last of them, the number of parameters) of transformers' `generate`, the likeliest tokens after
    prompts of so many random ones."""
    torch.manual_seed(0)
    model = Transformers(**shape).to(device, getattr(torch, dtype)).eval().model
    model.config.use_cache = True
    tokens = torch.randint(shape["vocab_size"], (batch, prompt), device=device)

    @torch.inference_mode()
    def make(number):
        made = model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=number, do_sample=False,
                              min_new_tokens=number, use_cache=True, pad_token_id=0)
        assert made.shape == (batch, prompt + number)
        return made[0, -1].item()
    return make, sum(p.numel() for p in model.parameters())


def main():
    """Serves until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever else is printed
    setting = json.loads(sys.argv[1])
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    way = setting.pop("way")
    if way == "generate":
        act, parameters = generator(**setting)
    else:
        act, parameters = trainer(way, **setting)
        act(2)
    answers.write(json.dumps({"parameters": parameters}) + "\n")
    for line in sys.stdin:
        began = time.perf_counter()
        result = act(int(line))
        answers.write(json.dumps({"seconds": time.perf_counter() - began, "result": result}) + "\n")


if __name__ == "__main__":
    main()
