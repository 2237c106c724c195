"""What a task's answers are worth: pure functions of gold answers and predictions, the gold ones first, that give
{name: number}.

Numbers are shares from 0 to 1, as scikit-learn has them, but BLEU, chrF, TER and ROUGE, which are published in 0..100.
A ratio without anything below the line is 0, or as each function says. At least one example is expected.

A module has beside its metrics what a bootstrap needs (see `interval`): `counts`, sums of which make the metric, or
`each`, the metric of every example, whose mean it is.
"""
