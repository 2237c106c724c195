"""Decoding: samplers as pure functions of logits, generation with a cache, text that streams whole characters."""
