"""Adapting a trained network, as functions of (model, parameters): heads, freezing, low-rank adapters."""
