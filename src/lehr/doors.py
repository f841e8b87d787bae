"""The doors of a Learner to what looks at it, saves it, or tries something with it."""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from lehr.callback import Callback

if TYPE_CHECKING:
    from lehr.inspect.audit import Audit
    from lehr.inspect.check_resume import ResumeCheck
    from lehr.inspect.find_lr import LRCurve
    from lehr.inspect.summary import Summary
    from lehr.learner import Learner
    from lehr.weights import Differences


class Doors:
    """What a `Learner` hands on: each method opens the module that does it when it is called."""

    def _itself(self) -> "Learner":
        return cast("Learner", self)

    def _everybody(self, more: Iterable[Callback] = ()) -> list[Callback]:
        raise NotImplementedError

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model's weights, and nothing else, to a safetensors file.

        Names are those of the bare model, whatever wraps it. To go on training from there, save a
        `Checkpoint` instead.

        Args:
            path: of the file; it ends in ``.safetensors``. A file that is there is replaced whole.

        Raises:
            TypeError: the model's state holds something that is no dense tensor with values.
            ValueError: the path has another ending.
            OSError: the folder is not there, or cannot be written to.

        Example:
            >>> import tempfile
            >>> from lehr.testing import tiny_learner
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     tiny_learner().save(f"{folder}/tiny.safetensors")
            ...     os.listdir(folder)
            ['tiny.safetensors']
        """
        from lehr.weights import save_weights

        save_weights(self._itself().model, path)

    def load(self, path: str | os.PathLike[str], *, strict: bool = True) -> "Differences":
        """Copy weights from a file into the model: all of them, or none.

        The optimizer, its state and all counters stay as they are. Values are copied into the dtype
        that the model has; see `lehr.weights.load_weights` for the kinds of file that are read. No
        file is trusted: one that would run code is refused.

        Args:
            path: of a safetensors file, of a ``state_dict`` that ``torch.save`` wrote, of a
                checkpoint or of a run folder.
            strict: refuse names and shapes that differ; else load what fits and return what does
                not.

        Returns:
            The differences: none, if ``strict``.

        Raises:
            ValueError: the weights do not fit and ``strict`` is given; or the file is damaged,
                holds no weights, or would run code. The model is as it was.
            OSError: the file is not there, or cannot be read.

        Example:
            >>> import tempfile
            >>> from lehr.testing import tiny_learner
            >>> learn = tiny_learner()
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     learn.save(f"{folder}/tiny.safetensors")
            ...     learn.load(f"{folder}/tiny.safetensors")
            no differences
        """
        from lehr.weights import load_weights

        return load_weights(self._itself().model, path, strict=strict)

    def explain(self, callbacks: Iterable[Callback] = ()) -> str:
        """The loop as it will really run: who hears each event, who wraps each action, in order.

        Args:
            callbacks: those that a fit would be given.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> print(tiny_learner().explain().splitlines()[0])
            fit
        """
        from lehr.inspect.explain import explain

        return explain(self._everybody(callbacks))

    def summary(self) -> "Summary":
        """Layers, shapes, parameters and groups, from one batch of the training data.

        The batch passes through the model as in `predict`; nothing is left of it.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> [(layer.name, layer.output) for layer in tiny_learner().summary().layers]
            [('0', '(8, 4)'), ('1', '(8, 4)'), ('2', '(8, 2)')]
        """
        from lehr.inspect.summary import summary

        return summary(self._itself())

    def audit(self, *, repair: str | None = None) -> "Audit":
        """Does the initialisation work? `lehr.audit` of the first training batch and the loss.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> [site.kind for site in tiny_learner().audit().sites][:3]
            ['linear', 'relu', 'linear']
        """
        from lehr.inspect.audit import audit_learner

        return audit_learner(self._itself(), repair)

    def find_lr(self, start: float = 1e-6, end: float = 10.0, *, steps: int = 100) -> "LRCurve":
        """Find a learning rate: train while it rises from ``start`` to ``end``, and watch the loss.

        It rises by the same factor at every step, in all parameter groups in proportion to what
        they have now, and the sweep ends early where the loss diverges. Nothing is left of it,
        whatever happens: every state entry is bit for bit what it was.

        Args:
            start: the first rate, above 0.
            end: the rate that the sweep approaches.
            steps: how many; at least 10. The training data are begun again if they are fewer.

        Returns:
            The curve; its ``suggestion`` is the rate of the group with the highest, its ``plot()``
            the picture.

        Raises:
            TypeError, ValueError: an argument cannot be used.
            KeyboardInterrupt: Ctrl-C in a script, once everything is as it was.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> curve = tiny_learner().find_lr()
            >>> 0.01 < curve.suggestion < 10
            True

        Reference:
            Smith 2017, arXiv:1506.01186, section 3.3, with a geometric instead of a linear rise.
        """
        from lehr.inspect.find_lr import find_lr

        return find_lr(self._itself(), start, end, steps)

    def check_resume(
        self, callbacks: Iterable[Callback] = (), *, epochs: int = 2, batches: int = 6
    ) -> "ResumeCheck":
        """Try whether a fit that is stopped and resumed ends in the same bits, with these parts.

        Trains copies for a few batches: straight, and stopped at every kind of place (after the
        first batch, within and at the end of an epoch, in an update window, in a validation) and
        resumed from files in new copies. Every state entry is compared at the end, and what a
        callback keeps in public attributes that its ``state`` does not declare. Callbacks that
        only look on are left out. Nothing is left of it.

        Args:
            callbacks: those that the fit would be given.
            epochs: of each of the runs; at least 1.
            batches: of each pass; at least 1.

        Returns:
            For each place the first difference; its ``ok`` says whether there is none.

        Raises:
            TypeError, ValueError: a number cannot be used, or something cannot be copied.

        Example:
            >>> from lehr.testing import tiny_learner
            >>> check = tiny_learner().check_resume()
            >>> check.ok, len(check.points)
            (True, 6)
        """
        from lehr.inspect.check_resume import check_resume

        everybody = self._everybody(callbacks)
        return check_resume(self._itself(), everybody, epochs=epochs, batches=batches)
