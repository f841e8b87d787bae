"""Estimators of scikit-learn that train a model of PyTorch."""

import copy
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW, Optimizer

from lehr import Callback, DataBunch, Learner
from lehr.callbacks import Device
from lehr.data import Dataset, get_dls
from lehr.data.split import random_split
from lehr.errors import real_number
from lehr.models import build
from lehr.models.imported import made_by
from lehr.state.streams import forked
from lehr.types import LossFunc

if TYPE_CHECKING:

    class BaseEstimator:
        """scikit-learn's."""

        def __sklearn_tags__(self) -> Any:
            """What the estimator can do."""

    class ClassifierMixin:
        """scikit-learn's."""

    class RegressorMixin:
        """scikit-learn's."""

else:
    try:
        from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    except ImportError:  # the page of the reference can still be made

        class BaseEstimator:
            """Stands for scikit-learn's where it is not installed."""

            def __new__(cls, *args: Any, **kwargs: Any) -> "BaseEstimator":
                """Refuse: nothing works without it."""
                raise ImportError(
                    f"lehr.sklearn.{cls.__name__} needs the package scikit-learn, which is not "
                    "installed. Install it: pip install 'lehr[sklearn]'."
                )

        class ClassifierMixin:
            """Stands for scikit-learn's where it is not installed."""

        class RegressorMixin:
            """Stands for scikit-learn's where it is not installed."""


class _Estimator(BaseEstimator):
    """What both do: make a model for the shape of the data, train it, predict with it."""

    model_: nn.Module
    callbacks_: list[Callback]

    def __init__(
        self,
        model: str | Callable[..., nn.Module] = "mlp",
        *,
        opt: Callable[..., Optimizer] = AdamW,
        lr: float = 0.01,
        epochs: int = 20,
        batch_size: int = 32,
        loss_func: LossFunc | None = None,
        callbacks: Sequence[Callback] = (),
        valid_share: float = 0.0,
        random_state: Any = None,
        device: str = "cpu",
        progress: bool = False,
    ) -> None:
        self.model = model
        self.opt = opt
        self.lr = lr
        self.epochs = epochs
        self.batch_size = batch_size
        self.loss_func = loss_func
        self.callbacks = callbacks
        self.valid_share = valid_share
        self.random_state = random_state
        self.device = device
        self.progress = progress

    def _train(self, x: Tensor, y: Tensor, outputs: int, loss_func: LossFunc) -> None:
        """Train a new model on ``x`` ``(items, ...)`` and ``y`` ``(items, ...)``."""
        seed = _seed(self.random_state)
        bunch = self._bunch(Dataset(x, y), seed)
        with forked(seed):
            model = self._made(tuple(x.shape[1:]), outputs).to(x.dtype)
        callbacks = copy.deepcopy(list(self.callbacks))
        opt = self.opt(model.parameters(), lr=self.lr)
        learn = Learner(
            model, opt, loss_func, bunch, self._moved(callbacks), seed=seed, progress=self.progress
        )
        run = learn.fit(self.epochs)
        self.model_, self.callbacks_ = model, callbacks
        self.history_, self._dtype = run.history.rows, x.dtype

    def _bunch(self, dataset: Dataset, seed: int) -> DataBunch:
        if real_number("valid_share", self.valid_share) == 0:
            return DataBunch(get_dls(dataset, dataset, self.batch_size)[0])
        parts = random_split(len(dataset), self.valid_share, seed)
        train, valid = (Dataset(*dataset[part]) for part in parts)
        return DataBunch(*get_dls(train, valid, self.batch_size))

    def _made(self, item_shape: tuple[int, ...], outputs: int) -> nn.Module:
        if isinstance(self.model, str):
            return build(self.model, item_shape, outputs)
        if isinstance(self.model, nn.Module):
            raise TypeError(
                f"model must be a name, or a class or function that makes a model, for every fit "
                f"makes a new one; got {type(self.model).__name__}, which is a model. Give e.g. "
                "model=lambda in_features, classes: …"
            )
        return made_by(self.model, item_shape, outputs, name="model")

    def _moved(self, callbacks: Sequence[Callback]) -> list[Callback]:
        here = torch.device(self.device).type == "cpu"
        return [*callbacks] if here else [Device(self.device), *callbacks]

    def _outputs(self, data: Any) -> Tensor:
        """What the trained model makes of ``data``: ``(items, outputs)``."""
        _validation().check_is_fitted(self)
        checked = _validation().validate_data(self, data, reset=False, **_ALLOWED)
        x = torch.tensor(checked, dtype=self._dtype)
        opt = torch.optim.SGD(self.model_.parameters())  # predictions need none, a Learner does
        callbacks = self._moved(self.callbacks_)
        learn = Learner(self.model_, opt, F.mse_loss, DataBunch([]), callbacks, progress=False)
        batches: Sequence[Tensor] = torch.split(x, _TOGETHER)
        return learn.predict([(xb, None) for xb in batches])


_ALLOWED: dict[str, Any] = {"dtype": ["float64", "float32"], "allow_nd": True}
_TOGETHER = 1024  # items in a batch of predictions


class Classifier(ClassifierMixin, _Estimator):
    """A classifier of scikit-learn that trains a model of yours with a `lehr.Learner`.

    It can be used wherever scikit-learn takes a classifier: in a ``Pipeline``, in ``GridSearchCV``,
    in ``cross_val_score``. The model is trained and used in the dtype of ``X``: float64, unless you
    give float32, which is faster. ``X`` is ``(items, features)``, or has more dimensions, for
    images. The labels may be anything that scikit-learn takes.

    Several fits at once need processes (``n_jobs=2`` starts some); threads cannot train side by
    side.

    Args:
        model: a name of `lehr.models.MODELS`; or a class or function that makes a model, called
            with those of ``item_shape``, ``channels_in``, ``in_features`` and ``classes`` that it
            takes. The model predicts a score for each class, before any softmax.
        opt: makes the optimizer: ``opt(parameters, lr=lr)``.
        lr: the learning rate, above 0.
        epochs: passes over the data; at least 0.
        batch_size: items in a batch; at least 1.
        loss_func: ``(pred, yb) -> scalar``; None is cross-entropy. ``yb`` is ``(batch,)``, int64.
        callbacks: of every fit, which works on copies of them.
        valid_share: of the items, held out for the callbacks that wait for ``valid_loss``; at least
            0 and below 1.
        random_state: decides initial weights, order and all else that is drawn; as in all of
            scikit-learn an int, a NumPy ``RandomState``, or None.
        device: where the model is trained, such as ``"cuda"``.
        progress: show a table while it trains.

    Attributes:
        model_: the trained model.
        classes_: the labels, sorted ``(classes,)``.
        history_: the rows of the run's history.
        callbacks_: the copies of the callbacks that took part.

    Raises:
        ImportError: the package scikit-learn is not installed.
        TypeError, ValueError: in `fit`: an argument cannot be used.

    Example:
        >>> import pytest
        >>> _ = pytest.importorskip("sklearn")
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.pipeline import make_pipeline
        >>> from sklearn.preprocessing import StandardScaler
        >>> pipeline = make_pipeline(StandardScaler(), Classifier("mlp", random_state=0))
        >>> pipeline.fit(*load_iris(return_X_y=True)).score(*load_iris(return_X_y=True)) > 0.9
        True
    """

    def fit(self, X: Any, y: Any) -> "Classifier":  # noqa: N803 (scikit-learn's name)
        """Train a new model on ``X`` ``(items, ...)`` and the labels ``y`` ``(items,)``."""
        import numpy as np

        x, y = _validation().validate_data(self, X, y, **_ALLOWED)
        import_module("sklearn.utils.multiclass").check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        loss_func = self.loss_func or F.cross_entropy
        self._train(torch.tensor(x), torch.tensor(labels), len(self.classes_), loss_func)
        return self

    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        """The probability of each class, in the order of ``classes_``: ``(items, classes)``."""
        return self._outputs(X).softmax(1).numpy()

    def predict(self, X: Any) -> Any:  # noqa: N803
        """The most probable label of each item: ``(items,)``."""
        best = self._outputs(X).argmax(1).numpy()
        return self.classes_[best]


class Regressor(RegressorMixin, _Estimator):
    """A regressor of scikit-learn that trains a model of yours with a `lehr.Learner`.

    Everything is as in `Classifier`, but for what is said here. The targets are not scaled: if they
    are far from 1, use scikit-learn's ``TransformedTargetRegressor``.

    Args:
        model: as in `Classifier`; ``classes`` is the number of targets. It predicts a number for
            each target: ``(batch, targets)``.
        opt: makes the optimizer: ``opt(parameters, lr=lr)``.
        lr: the learning rate, above 0.
        epochs: passes over the data; at least 0.
        batch_size: items in a batch; at least 1.
        loss_func: ``(pred, yb) -> scalar``; None is the mean squared error. ``yb`` is
            ``(batch, targets)``.
        callbacks: of every fit, which works on copies of them.
        valid_share: of the items, held out; at least 0 and below 1.
        random_state: an int, a NumPy ``RandomState``, or None.
        device: where the model is trained, such as ``"cuda"``.
        progress: show a table while it trains.

    Attributes:
        model_: the trained model.
        history_: the rows of the run's history.
        callbacks_: the copies of the callbacks that took part.

    Raises:
        ImportError: the package scikit-learn is not installed.
        TypeError, ValueError: in `fit`: an argument cannot be used.

    Example:
        >>> import pytest
        >>> _ = pytest.importorskip("sklearn")
        >>> import numpy as np
        >>> X = np.linspace(-1, 1, 100)[:, None]
        >>> made = Regressor("linear", lr=0.1, epochs=50, random_state=0).fit(X, 2 * X[:, 0])
        >>> round(made.score(X, 2 * X[:, 0]), 2)
        1.0
    """

    def __sklearn_tags__(self) -> Any:
        """It takes several targets."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> "Regressor":  # noqa: N803
        """Train a new model on ``X`` ``(items, ...)`` and ``y``: ``(items,)`` or more columns."""
        allowed = {"multi_output": True, "y_numeric": True, **_ALLOWED}
        x, y = map(torch.tensor, _validation().validate_data(self, X, y, **allowed))
        self._flat = y.ndim == 1
        targets: Tensor = y.reshape(len(x), -1).to(x.dtype)  # (items, targets)
        self._train(x, targets, targets.shape[1], self.loss_func or F.mse_loss)
        return self

    def predict(self, X: Any) -> Any:  # noqa: N803
        """The prediction for each item: ``(items,)``, or ``(items, targets)`` as in `fit`."""
        pred = self._outputs(X).numpy()
        return pred[:, 0] if self._flat else pred


def _validation() -> Any:
    return import_module("sklearn.utils.validation")


def _seed(random_state: Any) -> int:
    return int(import_module("sklearn.utils").check_random_state(random_state).randint(2**31))
