"""The folder that holds everything one training leaves behind."""

import os
import platform
import re
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, final

import torch
from torch import nn

from lehr.base import strict_json
from lehr.base.drawing import drawable, fit
from lehr.base.files import replace_file, sweep
from lehr.base.paths import path_of
from lehr.base.signals import interruptible
from lehr.callbacks import CSVLog, JSONLLog
from lehr.errors import add_note, notes_of, said, sentence
from lehr.learner import Learner
from lehr.loop.run import Run
from lehr.report import first_items, layer_records
from lehr.report.costs import costs, together
from lehr.report.evaluate import evaluate
from lehr.report.evaluate_regression import evaluate_regression
from lehr.report.evaluation import Evaluation
from lehr.report.page import write_report
from lehr.report.plots import spans_orders
from lehr.report.record import read_config, read_environment
from lehr.report.regression import Regression
from lehr.report.resumes import going_on
from lehr.report.words import written
from lehr.state.disk.weights import save_weights

_JSONL, _CSV = "history.jsonl", "history.csv"


@final
class RunFolder:
    """Writes what a training was, what it did and what it made.

    - ``config.json``: the settings, and how it ended: ``finished``, ``interrupted`` or ``failed``
      with the error's text (``running`` if the process was killed). It says ``finished`` once
      everything else is there. ``kept`` is the epoch whose weights are there, if the best were put
      back; ``seconds`` is where the time went, if a `Timer` was attached; ``memory`` the most that
      the program held.
    - ``environment.json``: versions and hardware.
    - ``history.jsonl`` (everything, by batch) and ``history.csv`` (a row for each epoch), written
      with every finished row, so that a process that is killed leaves what it had until then.
    - ``model.safetensors``: the weights, under the names of the bare model.
    - ``loss.png``, ``lr.png``, and a plot of every other number recorded by batch.
    - ``evaluation.json`` and ``evaluation.safetensors``: what a classifier does on the validation
      set, if the fit ended without an error; ``regression.json`` of a model that predicts a number.
    - ``first_items.json``: items of the first batch, as the training loader gives them, if it is
      lehr's own.
    - ``sweep.json``: the search for a learning rate before the training, if there was one.
    - ``layers.json`` and ``layers.safetensors``: what callbacks recorded of the layers, such as
      `ActivationStats` and `GradientStats`, if some did.
    - ``report.html``: all of it on one page.

    Args:
        path: the folder, which is there; `create` and `create_unique` make one.

    Example:
        >>> import tempfile
        >>> from lehr.testing import tiny_learner
        >>> learn = tiny_learner()
        >>> with tempfile.TemporaryDirectory() as scratch:
        ...     folder = RunFolder.create(Path(scratch, "first"))
        ...     with folder.keep(learn, {"epochs": 1}):
        ...         _ = learn.fit(1)
        ...     sorted(file.name for file in folder.path.glob("*.*ml"))
        ['report.html']
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path_of(path)

    @classmethod
    def create(cls, path: str | Path) -> "RunFolder":
        """Makes a new folder, and those above it.

        Raises:
            FileExistsError: there is something of that name.
            OSError: it cannot be made there; the class is the system's, such as PermissionError.
        """
        path = path_of(path)
        cls.refuse_existing(path)
        try:
            path.mkdir(parents=True)
        except FileExistsError:  # another process was faster
            cls.refuse_existing(path)
            raise
        except OSError as error:
            raise type(error)(
                f"the run folder {path} cannot be made: {error.strerror}. Choose a place that can "
                "be written to."
            ) from error
        return cls(path)

    @staticmethod
    def refuse_existing(path: str | Path) -> None:
        """Say now that a folder cannot be made here because there is one.

        Raises:
            FileExistsError: there is something of that name.
        """
        if path_of(path).exists():
            raise FileExistsError(
                f"the run folder must be new; {path} exists. Choose another name, or remove it."
            )

    @classmethod
    def create_unique(cls, name: str, parent: str | Path = "runs") -> "RunFolder":
        """Makes ``parent/name-yyyymmdd-hhmmss``, with a number behind it if that is taken.

        Raises:
            OSError: it cannot be made there.
        """
        stem = f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
        for number in range(1, 1000):
            path = path_of(parent, stem if number == 1 else f"{stem}-{number}")
            if not path.exists():
                try:
                    return cls.create(path)
                except FileExistsError:  # another process was faster
                    continue
        raise FileExistsError(f"{parent} holds a thousand runs called {stem}. Choose another name.")

    @contextmanager
    def keep(
        self, learn: Learner, settings: Mapping[str, Any], *, resumed: bool = False
    ) -> Generator[None]:
        """A scope for one ``learn.fit(…)``; however it ends, the folder then holds what there is.

        The history goes to disk with every finished row: two logs are attached to ``learn`` inside
        the scope. Afterwards everything is written by itself, so that what goes wrong with one file
        loses no other, and hides no error of the training; plots, evaluation and report are only
        warned about. Weights come first, the status last. Ctrl-C and SIGTERM wait for all that; the
        second one ends it at once, and the status is ``interrupted``.

        Args:
            learn: whose training it is.
            settings: whatever decided it; kept in ``config.json``, as text where JSON has no word.
            resumed: the fit goes on with the run that is in the folder, ``fit(…, resume=…)``. Until
                its state is loaded everything stays as it is, also if that fails.

        Raises:
            Exception: the training's own; else whatever kept config, history or weights from being
                written, once the rest is; the status is then ``failed``.
            KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM, as in `Learner.fit`.
        """
        before, config, now = learn.run, _config(learn, settings), environment(learn.model)
        earlier = read_config(self.path) if resumed else None
        if earlier is None:
            self._write("environment.json", now)
        else:
            config |= going_on(earlier, config, read_environment(self.path), now)
        self._write("config.json", config)
        sweep(self.path)
        logs = JSONLLog(self.path / _JSONL, append=True), CSVLog(self.path / _CSV, append=True)
        learn.callbacks.extend(logs)
        try:
            if earlier is None and (items := first_items.first_items(learn)):
                first_items.save(self.path, items)
            yield
            config["status"] = "finished"
        except (KeyboardInterrupt, SystemExit):
            config["status"] = "interrupted"
            raise
        except BaseException as error:
            lines = [f"{type(error).__name__}: {said(error)}", *notes_of(error)]
            config.update(status="failed", error="\n".join(lines))
            raise
        finally:
            with interruptible(_later):
                learn.callbacks[:] = [
                    cb for cb in learn.callbacks if all(cb is not log for log in logs)
                ]
                run = None if learn.run is before else learn.run
                if earlier is not None and (run is None or run.resuming):
                    self._write("config.json", earlier)
                else:
                    config.update(ended=_now(), stop_reason=run and run.stop_reason)
                    with suppress(Exception):  # nothing may keep the weights from being written
                        config.update(together(earlier or {}, costs(run, learn.model)))
                    self._finish(learn, run, config, logs)

    def write(self, learn: Learner, settings: Mapping[str, Any] | None = None) -> Path:
        """Write what the last fit of a Learner was and made: for one that is over already.

        `keep` does more: the history is on disk as it grows, however the process ends.

        Args:
            learn: whose last fit it is; weights and evaluation are those of the model as it is now.
            settings: whatever decided it; kept in ``config.json``.

        Returns:
            The path of ``report.html``.

        Raises:
            RuntimeError: there was no fit.
            Exception: whatever kept config, history or weights from being written.

        Example:
            >>> import tempfile
            >>> from lehr.testing import tiny_learner
            >>> learn = tiny_learner()
            >>> run = learn.fit(1)
            >>> with tempfile.TemporaryDirectory() as scratch:
            ...     RunFolder.create(Path(scratch, "first")).write(learn).name
            'report.html'
        """
        if (run := learn.run) is None:
            raise RuntimeError(
                f"{type(learn).__name__} has no fit to write about. Call fit, then write."
            )
        config = _config(learn, settings or {}) | {"started": None, "ended": _now()}
        config |= {"status": _ending(run), "stop_reason": run.stop_reason}
        config |= costs(run, learn.model)
        self._write("environment.json", environment(learn.model))
        self._write("config.json", config | {"status": "running"})  # the last to say how it ended
        run.history.to_jsonl(self.path / _JSONL)
        run.history.to_csv(self.path / _CSV)
        self._finish(learn, run, config, ())
        return self.path / "report.html"

    def _finish(
        self,
        learn: Learner,
        run: Run | None,
        config: dict[str, Any],
        logs: Iterable[JSONLLog | CSVLog],
    ) -> None:
        """Write everything, each by itself: what cannot be made again first, the status last."""
        status = config["status"]
        lost, harmless = _Attempts(), _Attempts()
        lost("the weights", lambda: self._write_weights(learn.model))
        if run is not None:
            lost("the history", lambda: _end_history(run, logs))
        if lost.problems and status == "finished":
            config.update(status="failed", error="; ".join(lost.problems))
        try:
            if run is not None:
                harmless("the plots", lambda: self._write_plots(run))
            for kind in (Evaluation, Regression):  # of an earlier stop
                harmless("the evaluation", partial(kind.remove, self.path))
            harmless("what is known of the layers", lambda: self._write_layers(run))
            if run is not None and status != "failed":
                config["kept"] = _kept(run)
                harmless("the evaluation", lambda: self._write_evaluation(learn))
            harmless("report.html", lambda: write_report(self.path, _as_json(config)))
        except BaseException:  # a second interrupt, say
            if status == "finished":
                config["status"] = "interrupted"
            self._write("config.json", config)
            raise
        lost("config.json", lambda: self._write("config.json", config))
        sweep(self.path)
        raised = lost.errors[0] if lost.errors and status == "finished" else None
        if problems := [*lost.problems, *harmless.problems]:
            message = f"{'; '.join(problems)}. Everything else is in {self.path}."
            if raised is not None:
                add_note(raised, message)
                raise raised
            # Where warnings are errors, this one must not take the place of the training's own.
            with suppress(Warning) if status != "finished" else nullcontext():
                warnings.warn(message, stacklevel=4)

    def _write_layers(self, run: Run | None) -> None:
        layer_records.remove(self.path)  # of an earlier stop
        if tables := layer_records.tables_of(() if run is None else run.callbacks):
            layer_records.save(self.path, tables)

    def _write_evaluation(self, learn: Learner) -> None:
        if (evaluation := evaluate(learn) or evaluate_regression(learn)) is not None:
            evaluation.save(self.path)

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        path = self.path / name
        try:
            data = _text(content)
        except ValueError as error:
            todo = "Give settings that a file of JSON can hold."
            raise ValueError(f"{path} cannot be written: {sentence(error)} {todo}") from error
        replace_file(path, data)

    def _write_weights(self, model: nn.Module) -> None:
        save_weights(model, self.path / "model.safetensors")

    def _write_plots(self, run: Run) -> None:
        from matplotlib.figure import Figure  # without pyplot the user's backend stays as it is

        for name in run.history.series:
            figure = Figure(figsize=(7, 4), dpi=120)
            ax = figure.subplots()
            if name == "loss":
                run.recorder.plot_loss(ax)
                ax.lines[0].set_alpha(0.6)
                if spans_orders(drawable(run.history[name])):
                    ax.set(yscale="log", ylabel="loss, logarithmic")
            else:
                run.recorder.plot(name, ax)
                ax.set_ylabel(name.replace("$", r"\$"))  # else it is read as a formula
            ax.grid(alpha=0.3)
            ax.spines[["top", "right"]].set_visible(False)
            fit(ax)
            drawn = BytesIO()
            figure.savefig(drawn, format="png")
            file = f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', name)}.png"
            replace_file(self.path / file, drawn.getvalue())

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"


def environment(model: nn.Module) -> dict[str, Any]:
    """Versions and hardware that a training of ``model`` runs on.

    Example:
        >>> environment(nn.Linear(1, 1))["device"]
        'cpu'
    """
    import numpy as np

    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    }


def _config(learn: Learner, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "status": "running",
        "error": None,
        "stop_reason": None,
        "started": _now(),
        "ended": None,
        "kept": None,
        "lehr": _version(),
        "seed": learn.seed,
        "settings": dict(settings),
        **_preparation(learn.data),
    }


def _ending(run: Run) -> str:
    """How a fit ended that is over."""
    rows = run.history.rows
    cut_short = bool(rows) and rows[-1].get("seconds") is None  # no event of the end was called
    if cut_short or "failed" in run.history.meta:
        return "failed"
    return "interrupted" if run.interrupted else "finished"


def _kept(run: Run) -> dict[str, Any] | None:
    """Which epoch has the weights that the run leaves behind, if not the last one does."""
    for callback in run.callbacks:
        if callback.keeps is not None:
            epoch, monitor = callback.keeps
            return {"epoch": epoch, "monitor": monitor}
    return None


def _end_history(run: Run, logs: Iterable[JSONLLog | CSVLog]) -> None:
    """Add the row that an error cut short; a run that goes on lets go of it."""
    for log in logs:
        if log.file.is_open and (rows := run.history.rows[log.written["rows"] :]):
            log.write_rows(run, rows)


def _later(reason: str) -> None:
    """What is asked for in the meantime waits until everything is written."""


def _text(content: Mapping[str, Any]) -> bytes:
    return strict_json.dump(written(content), indent=2) + b"\n"


def _as_json(content: Mapping[str, Any]) -> dict[str, Any]:
    """What will be read back."""
    return strict_json.parse(_text(content))


def _preparation(data: Any) -> dict[str, Any]:
    to_dict = getattr(getattr(data, "preparation", None), "to_dict", None)
    return {"preparation": to_dict()} if callable(to_dict) else {}


class _Attempts:
    """Does one thing after the other, and remembers what went wrong."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.problems: list[str] = []

    def __call__(self, what: str, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:
            self.errors.append(error)
            why = f"{type(error).__name__}: {said(error)}".rstrip(".")
            self.problems.append(f"{what} could not be written: {why}")


def _version() -> str:
    import lehr

    return lehr.__version__


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")
