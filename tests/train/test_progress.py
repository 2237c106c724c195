"""Early stopping, the falling rate, the average of the parameters: against torch, numpy, and runs without a cut."""

import jax
import numpy as np
import optax
import pytest

from lmlab.train import progress
from lmlab.utils import trees
from lmlab.utils.errors import UserError
from test_loop import toy, train

SCORES = [3.0, 2.0, 2.5, 2.5, 2.4, 1.0, 1.0, 1.1, 1.2, 1.3, 0.9]


def test_the_rate_falls_as_torch_has_it():
    torch = pytest.importorskip("torch")
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        sgd := torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0), factor=0.5, patience=1, threshold=0.0)
    memory, scales = progress.new(), []
    for score in SCORES:
        memory = progress.noted(memory, score, plateau=2, factor=0.5)
        theirs.step(score)
        scales.append((float(memory["scale"]), sgd.param_groups[0]["lr"]))
    assert len({ours for ours, _ in scales}) == 4 and all(ours == other for ours, other in scales)


def scored(step, params):
    return {"val_loss": SCORES[step], "val_accuracy": -SCORES[step]}


@pytest.mark.parametrize("best", ["loss", "accuracy"])
def test_a_run_ends_after_so_many_evaluations_without_a_better_one(best, tmp_path):
    seen = []
    evaluate = lambda step, params: seen.append(step) or scored(step, params)
    state, report, _ = train(tmp_path, evaluate=evaluate, eval_every=1, steps=10, patience=3, keep=1, best=best)
    assert report.step == 4 and not report.stopped and seen == [0, 1, 2, 3, 4]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.isdecimal()) == ["1", "4"]
    again, report, _ = train(tmp_path, state=state, evaluate=evaluate, eval_every=1, steps=10, patience=3, best=best)
    assert report.step == 4 and again is state and len(seen) == 5  # it has ended


def test_a_name_that_is_no_score_is_told(tmp_path):
    with pytest.raises(UserError, match=r"evals.best='acuracy' is no score of this run; did you mean 'accuracy'\?"):
        train(tmp_path, evaluate=scored, eval_every=1, best="acuracy")


def test_the_state_tells_how_it_went():
    state = toy().init()
    for score in SCORES[:4]:
        state = progress.note(state, score, 0, 1.0)
    assert state["extra"]["progress"]["best"] == 2.0 and state["extra"]["progress"]["since"] == 2


@pytest.mark.parametrize("name", ["one", "mixed", "pmap"])
def test_the_average_is_numpy_s_and_what_does_not_train_stays(name, case_batch, make_model, make_strategy, assert_close,
                                                              assert_same):
    model, trains = make_model(), lambda path: "attention" not in path
    common = dict(trains=trains, objective="causal")
    plain = make_strategy(name, model, (optax.sgd(0.1), lambda step: 0.1), **common)
    kept = make_strategy(name, model, (optax.sgd(0.1), lambda step: 0.1), average=0.8, **common)
    states, start = [plain.init(), kept.init()], plain.collect(plain.init())["params"]
    expected = trees.split(jax.tree.map(np.float64, jax.device_get(start)), trains)[0]
    for n in range(12):
        states = [strategy.step(state, strategy.put(case_batch))[0] for strategy, state in zip((plain, kept), states)]
        trained = trees.split(jax.device_get(plain.collect(states[0])["params"]), trains)[0]
        share = max(1 - 0.8, 9 / (10 + n))
        expected = jax.tree.map(lambda a, x: a + share * (x - a), expected, trained)
    (now, _), after = (plain.collect(state) for state in states), kept.collect(states[1])
    average, frozen = trees.split(after["params"], trains)
    assert_close(average, expected, 1e-5)
    assert_close(after["extra"]["trained"], trees.split(now["params"], trains)[0], 1e-5)
    assert_same(frozen, trees.split(start, trains)[1])


def test_parameters_that_are_there_begin_a_run(make_model, make_strategy, tap, assert_same):
    model = make_model()
    new = jax.device_get(make_strategy("one", model, tap).init()["params"])
    given, _ = trees.split(jax.tree.map(lambda x: x + 1, new), lambda path: "ff" in path)
    for name in ("one", "mixed", "pmap"):
        strategy = make_strategy(name, model, tap, given=given)
        for params in (strategy.collect(strategy.init())["params"], strategy.init_params()):
            assert_same(params, trees.join(new, given))


@pytest.fixture(scope="module")
def case_batch(packed):
    """Sixteen rows, the last two of them padding."""
    return packed(16, 16, 37, padding=2)[0]
