"""Predictions from several views of each image: test-time augmentation."""

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

from lehr import Callback, Run


class Views(Callback):
    """Predicts, in evaluation, from several views of each batch.

    Args:
        views: the batch -> its views, each of which the model gets.
        together: what the model gave for each of them -> the prediction.
    """

    state = ()
    by_length = False

    def __init__(
        self,
        views: Callable[[Tensor], Iterable[Tensor]],
        together: Callable[[Sequence[Tensor]], Tensor],
    ) -> None:
        self.views, self.together = views, together

    def predict(self, run: Run, proceed: Callable[[], None]) -> None:
        if run.training:
            proceed()
            return
        own, preds = run.xb, []
        for run.xb in self.views(own):
            proceed()
            preds.append(run.pred)
        run.xb, run.pred = own, self.together(preds)
