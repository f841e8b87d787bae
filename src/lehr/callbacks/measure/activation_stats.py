"""Records what the outputs of every layer look like."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from lehr.base import drawing
from lehr.callback import Callback
from lehr.errors import positive_int, real_number
from lehr.events import Phase
from lehr.record.layer_log import LayerLog
from lehr.record.layer_table import LayerTable
from lehr.state.layers import layer_names, layers_of

if TYPE_CHECKING:
    from lehr.loop.run import Run

MEAN, STD, NEAR_ZERO, DEAD, HISTOGRAM = 0, 1, 2, 3, 4
TITLES = ("mean", "standard deviation", "share near zero", "share dead")


class ActivationStats(Callback):
    """Records how the outputs of each layer are spread, and how many of its units are dead.

    A unit is dead in a batch if it is near zero for every item of it.

    The layers are hooked while the fit lasts, and their numbers computed where they are; they are
    fetched now and then. Training and each validation loader are kept apart. Of a long fit, batches
    that are spread over it evenly are kept, at most 2,048 of each.

    Args:
        layers: names of modules, as in ``model.named_modules()``; None takes all modules that have
            no modules inside. One that answers with something other than a tensor of real numbers
            is nan.
        every: record each such batch of a pass; at least 1.
        bins, low, high: the histogram counts values from ``low`` to ``high`` in so many bins;
            values outside are not counted.
        near_zero: outputs of at most this absolute value are near zero; at least 0.

    Attributes:
        train: the records, as `lehr.record.layer_log.LayerLog`: ``values()`` has the shape
            ``(batches, layers, 4 + bins)``; the columns are mean, standard deviation, share near
            zero, share of dead units, and the counts of the bins.

    Raises:
        TypeError, ValueError: an argument cannot be used; at the start of a fit, if the model has
            no such layer.

    Example:
        >>> from lehr.testing import tiny_learner
        >>> stats = ActivationStats()
        >>> run = tiny_learner().fit(1, callbacks=[stats])
        >>> stats.train.layers, tuple(stats.train.values().shape)
        (['0', '1', '2'], (4, 3, 44))
    """

    phase = Phase.MEASURE
    replays = False
    state = ("train", "validated")

    def __init__(
        self,
        layers: Sequence[str] | None = None,
        *,
        every: int = 1,
        bins: int = 40,
        low: float = 0.0,
        high: float = 10.0,
        near_zero: float = 0.05,
    ) -> None:
        self.layers = layer_names(layers)
        self.every = positive_int("every", every, example=10)
        self.bins = positive_int("bins", bins, example=40)
        self.low, self.high = real_number("low", low), real_number("high", high)
        if self.low >= self.high:
            raise ValueError(f"low must be below high; got low={low}, high={high}.")
        if real_number("near_zero", near_zero) < 0:
            raise ValueError(f"near_zero must be at least 0; got {near_zero}. Use e.g. 0.05.")
        self.near_zero = near_zero

    def begin_fit(self, run: "Run") -> None:
        """Hook the layers."""
        chosen = layers_of(run.model, self.layers)
        self._kinds = {name: type(module).__name__ for name, module in chosen.items()}
        self.train = LayerLog(list(chosen), HISTOGRAM + self.bins)
        self._valid = {name: self._anew() for name in run.valid_names or [""]}
        self._rows: dict[str, Tensor] = {}
        self._looks = False
        for name, module in chosen.items():
            run.defer(module.register_forward_hook(partial(self._look, name)).remove)

    def _anew(self) -> LayerLog:
        return LayerLog(self.train.layers, self.train.columns)

    @property
    def valid(self) -> LayerLog | dict[str, LayerLog]:
        """The record of the validations; of several loaders, a record each by name."""
        return self._valid[""] if list(self._valid) == [""] else self._valid

    @property
    def validated(self) -> dict[str, Any]:
        """The state of the record of each validation loader."""
        return {name: log.state_dict() for name, log in self._valid.items()}

    @validated.setter
    def validated(self, states: Mapping[str, Any]) -> None:
        self._valid = {name: LayerLog.of_state(state) for name, state in states.items()}

    def begin_batch(self, run: "Run") -> None:
        """Look at this batch if it is its turn."""
        self._looks = run.batch_index % self.every == 0
        self._rows = {}

    def after_pred(self, run: "Run") -> None:
        """Keep what was seen; a second look at the batch is not counted."""
        if self._looks:
            self._looks = False
            name = run.valid_name
            log = self.train if run.training else self._valid.setdefault(name, self._anew())
            rows = [self._rows.get(name) for name in log.layers]
            known = next((row for row in rows if row is not None), torch.empty(log.columns))
            nothing = torch.full_like(known, torch.nan)
            numbers = torch.stack([nothing if row is None else row for row in rows])
            log.add(run.n_iter, numbers)
            self._rows = {}

    def plot(self) -> Any:
        """Draw mean, deviation, shares near zero and dead of each layer by training batch.

        Returns:
            The matplotlib figure.
        """
        panels = drawing.panels(len(TITLES), size=(16, 3.5))
        values = self.train.values()
        for column, (ax, title) in enumerate(zip(panels, TITLES, strict=True)):
            for row, name in enumerate(self.train.layers):
                numbers = cast("list[float]", values[:, row, column].tolist())
                ax.plot(self.train.batches, drawing.drawable(numbers), label=name)
            ax.set(title=title, xlabel="training batch")
        panels[0].legend(title="layer", fontsize="small")
        return panels[0].figure

    def plot_histograms(self) -> Any:
        """Draw how the outputs of each layer are spread, as colours, by training batch.

        The brightness is the logarithm of the counts, from ``low`` at the bottom to ``high``.

        Returns:
            The matplotlib figure.
        """
        layers = self.train.layers
        panels = drawing.panels(len(layers), size=(3 * len(layers), 2.5))
        counts = self.train.values()[:, :, HISTOGRAM:].nan_to_num()
        for row, (ax, name) in enumerate(zip(panels, layers, strict=True)):
            ends = (0, max(1, len(counts)), self.low, self.high)
            ax.imshow(counts[:, row].T.log1p().numpy(), origin="lower", aspect="auto", extent=ends)
            ax.set(title=f"layer {name}", xlabel="record")
        return panels[0].figure

    def layer_tables(self) -> list[LayerTable]:
        """What a report shows: of training also the histograms, of each validation the means.

        Before the first fit there is nothing.
        """
        if not hasattr(self, "_kinds"):
            return []
        counts = self.train.values()[:, :, HISTOGRAM:]
        return [
            self._table("training", self.train, counts),
            *(
                self._table(f"validation ({name})" if name else "validation", log.means(), None)
                for name, log in self._valid.items()
            ),
        ]

    def _table(self, where: str, log: LayerLog, counts: Tensor | None) -> LayerTable:
        values = log.values()
        return LayerTable(
            title=f"Outputs of each layer in {where}",
            layers=[f"{name} {self._kinds[name]}" for name in log.layers],
            batches=log.batches,
            numbers={title: values[:, :, column] for column, title in enumerate(TITLES)},
            counts=counts,
            span=(self.low, self.high),
        )

    @torch.no_grad()
    def _look(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        if not self._looks or not isinstance(output, Tensor) or not output.is_floating_point():
            return
        values = output.detach().float()
        near = values.abs() <= self.near_zero
        dead = near.all(dim=0) if near.ndim else near
        counts = torch.histc(values, self.bins, self.low, self.high)
        spread, mean = torch.std_mean(values, correction=0)
        self._rows[name] = torch.cat(
            [torch.stack([mean, spread, _share(near), _share(dead)]), counts]
        )

    def __repr__(self) -> str:
        chosen = "" if self.layers is None else f"{self.layers!r}, "
        return f"ActivationStats({chosen}every={self.every})"


def _share(holds: Tensor) -> Tensor:
    return holds.float().mean()
