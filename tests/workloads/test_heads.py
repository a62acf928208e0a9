"""The logistic head against scikit-learn, and its way to disk and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ohmformer.errors import UserError
from ohmformer.workloads import LogisticHead, train_head


@pytest.mark.parametrize("labels", [(0, 1), (1, 2), (0, 3, 7)])
def test_the_head_predicts_as_scikit_learn_does(labels: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    y = rng.choice(labels, 300)
    x = rng.normal(size=(300, 12)) * np.arange(1, 13) + y[:, None] + 5
    x[:, 3] = 2.0  # a constant column must not divide by zero
    reference = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(x, y)
    head = train_head(x, y, seed=0)
    new = rng.normal(size=(500, 12)) * 10
    predicted = head.predict(new)
    np.testing.assert_array_equal(predicted, reference.predict(new))
    assert set(predicted.tolist()) == set(labels)


def test_a_saved_head_is_the_same_head(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(50, 4)), np.tile([0, 1], 25)
    head = train_head(x, y, seed=0)
    back = LogisticHead.load(head.save(tmp_path / "head.safetensors"))
    for name in ("mean", "scale", "coefficients", "intercept", "classes"):
        np.testing.assert_array_equal(getattr(back, name), getattr(head, name))
    assert back.trained_on == 50


def test_what_is_no_head_or_does_not_fit_is_refused(tmp_path: Path) -> None:
    head = train_head(np.eye(4), [0, 0, 1, 1], seed=0)
    with pytest.raises(UserError, match="vectors of 4 values; got shape"):
        head.predict(np.zeros((2, 5)))
    with pytest.raises(UserError, match="all 4 training labels are the same"):
        train_head(np.eye(4), [1, 1, 1, 1], seed=0)
    with pytest.raises(UserError, match="one label per vector"):
        train_head(np.eye(4), [0, 1], seed=0)
    (tmp_path / "bad").write_bytes(b"no arrays")
    for name in ("bad", "absent"):
        with pytest.raises(UserError, match="holds no classification head"):
            LogisticHead.load(tmp_path / name)
    with pytest.raises(UserError, match="Cannot write"):
        head.save(tmp_path / "no" / "folder" / "head.safetensors")


def test_a_nearly_constant_column_has_no_say() -> None:
    rng = np.random.default_rng(2)
    y = np.tile([0, 1], 100)
    x = rng.normal(size=(200, 5)) + y[:, None]
    x[:, 2] = 3.0 + 1e-9 * y  # tells the classes apart perfectly, far below anything an embedding resolves
    head = train_head(x, y, seed=0)
    shaken = x.copy()
    shaken[:, 2] += 0.01 * rng.normal(size=200)
    np.testing.assert_array_equal(head.predict(shaken), head.predict(x))
    assert np.isinf(head.scale[2])
