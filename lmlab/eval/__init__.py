"""Measuring: exact scores over a split, and the trivial baselines that they stand beside."""
