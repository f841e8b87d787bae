"""One run of which every process has its part."""

import time
from contextlib import AbstractContextManager
from typing import Any, final
from weakref import WeakKeyDictionary

import torch

from lehr.base.signals import interruption
from lehr.distributed.alike import of_run
from lehr.distributed.control import Said, Sent
from lehr.distributed.data_parallel import DataParallel
from lehr.distributed.failures import is_of_others
from lehr.events import Cancel


@final
class Together(AbstractContextManager[None]):
    """What this process does so that a run is one run: it averages gradients, and says where it is.

    There is one message a step: the weight of the window, whether the run is to end, and the
    position. It is sent before the gradient of the batch that closes the window is taken, and read
    when the window closes. So a process that waits for gradients in vain has said so before: one
    that has cancelled the batch alone finds that message where it waits for another.

    Args:
        engine: the processes.
        run: which is about to begin.
    """

    def __init__(self, engine: Any, run: Any) -> None:
        engine.failures.require_working()
        self.engine, self.run = engine, run
        self.gradients = engine.strategy(run)
        self.clock = 0.0
        """What the first process's clock said in the last message, in seconds"""
        self._sent: tuple[Sent, float] | None = None
        self._unread: Sent | None = None  # the message of the last step, where it is read late
        self._due = 0  # batches that the window has when the one that closes it has its gradient
        self._awaited = False  # whether the gradient of this batch is awaited from the others
        self._announced = False
        self._settled = True
        _parts[run] = self

    @staticmethod
    def of(run: Any) -> "Together":
        """The part of this process in a run that is under way."""
        return _parts[run]

    def actions(self, own: dict[str, Any]) -> dict[str, Any]:
        """What the actions do: prediction goes through the parallel model."""
        return own | {"predict": self.gradients.predicting(own["predict"])}

    # The whole run -------------------------------------------------------------------------------

    def __enter__(self) -> None:
        run, control = self.run, self.engine.control
        self.engine.runs.append(self)
        self.gradients.open()
        control.runs += 1
        if run.plan.trains:
            run.rests.visitors.insert(0, self._rest)
        try:
            said = Said(clock=self._now())
            self.clock = control.send("fit" if run.plan.trains else "validation", said).wait().clock
            self.engine.require_alike(of_run(run))
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        engine = self.engine
        engine.runs.remove(self)
        self.gradients.close()
        _parts.pop(self.run, None)  # it holds the run
        try:
            if error is None or isinstance(error, Cancel):
                self._read_late()
                self._heed(self._say("end").wait())
        except RuntimeError as parted:
            self._tell(parted)
            raise
        if error is None:
            self._end_as_others()
        elif not isinstance(error, Cancel):
            self._tell(error)

    def _tell(self, error: BaseException) -> None:
        """Let the other processes know of an error; raise the one of another, if it is theirs."""
        engine = self.engine
        if engine.runs and not is_of_others(error):
            return  # whoever began this run may go on without it; else the outermost run tells
        engine.failures.tell(error, self.run)

    def _end_as_others(self) -> None:
        """End this process as one ends that was interrupted, if another one was."""
        run = self.run
        if run.interrupted is not None and "interrupted" not in run.wishes:
            ending = interruption(run.interrupted)
            if ending is not None:
                raise ending

    def _rest(self, run: Any, rest: Any) -> None:
        if rest.stage != "batch":  # there, the message of the step has just been read
            self._read_late()
            self._heed(self._say("rest").wait())
        elif run.stepped and not self._settled:
            raise RuntimeError(
                "a callback made an optimizer step without the loop (it replaces one_batch, "
                "perhaps), so the gradients were not exchanged between the processes, and each "
                "would train a model of its own. Wrap the actions predict, compute_loss, backward "
                "and step instead; they are exchanged for."
            )
        self._settled = False

    # The window ----------------------------------------------------------------------------------

    def exchange(self) -> None:
        """A training batch is about to be predicted."""
        run = self.run
        if self._awaited and not self._announced:  # it was cancelled: here alone?
            self._say("cancel").wait()
        closes = run.closes or run.last_batch
        self._awaited = self.gradients.expect(closes=closes)
        self._due = run.window.batches + 1 if closes else 0
        self._announced = self._settled = False

    def apart(self) -> bool:
        """Let the backward pass of the batch that is about to be predicted wait for nobody."""
        if not isinstance(self.gradients, DataParallel):
            return False
        self.gradients.past, self._awaited = True, False
        return True

    def announce(self) -> None:
        """The gradient of a training batch is about to be taken: say so, if others wait for it."""
        run = self.run
        if self._awaited or run.closes:
            self._announced = True
            self._drop()
            self._sent = self._say("step", run.window.weight), run.window.weight

    def settle(self) -> None:
        """A window closes: its gradients are averaged, and its weight is that of all processes."""
        window, sent = self.run.window, self._sent
        expected = self._due == window.batches  # else the batch that was to close it was cancelled
        if sent is None or not expected:
            self._drop()
            message = self._say("step", window.weight)
        elif sent[1] != window.weight:
            raise RuntimeError(
                f"the weight of this window is {window.weight}, but the other processes were told "
                f"{sent[1]}: a callback has changed it since. Give the Learner weight=, or set "
                "run.weight before the backward action."
            )
        else:
            self._sent, message = None, sent[0]
        said = None if self.engine.control.late else message.wait()
        self.gradients.finish(expected=expected)
        self._announced = self._settled = True
        if said is not None:
            self._heed(said)
            window.weight = said.weight / self.engine.world  # as the gradients are averaged
            return
        total = message.weight() / self.engine.world
        window.weight, window.on_device = 1.0, torch.where(total > 0, total, 1.0)
        self._read_late()
        self._unread = message

    def _read_late(self) -> None:
        """Heed what was said in the step before, if that has not been read yet."""
        if self._unread is not None:
            message, self._unread = self._unread, None
            self._heed(message.wait())

    def replay(self, *, last: bool) -> None:
        """A batch of the window is about to be predicted again, as `Run.regrad` does."""
        self.gradients.expect(closes=last)

    def _drop(self) -> None:
        """Read a message that counts for nothing: the batch that it was about was cancelled."""
        if self._sent is not None:
            (sent, _), self._sent = self._sent, None
            sent.wait()

    def _say(self, kind: str, weight: float = 0.0) -> Sent:
        run, wishes = self.run, self.run.wishes
        stop = "stop_reason" in wishes and run.stop_reason is None
        interrupt = "interrupted" in wishes and run.interrupted is None
        said = Said(weight, float(stop), float(interrupt), self._now())
        return self.engine.control.send(kind, said, position=(run.n_iter, run.n_steps))

    def _now(self) -> float:
        return time.monotonic() if self.engine.rank == 0 else 0.0  # they are added up

    def _heed(self, said: Said) -> None:
        """Know what time it is, and let the run end, if one process wants it."""
        self.clock = said.clock
        if not (said.stops or said.interrupts):
            return
        run = self.run
        all_wishes = self.engine.gather(dict(run.wishes))
        for wish, count in (("stop_reason", said.stops), ("interrupted", said.interrupts)):
            asked = {rank: said[wish] for rank, said in enumerate(all_wishes) if wish in said}
            if count and asked and getattr(run, wish) is None:
                rank, reason = next(iter(asked.items()))
                alone = len(asked) < self.engine.world and wish == "stop_reason"
                setattr(run, wish, f"{reason} (rank {rank})" if alone else reason)


_parts: WeakKeyDictionary[Any, Together] = WeakKeyDictionary()
