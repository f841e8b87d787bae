"""lehr: one readable training loop for PyTorch.

A callback can watch, change, wrap or replace every line of the loop. An event that no callback
watches costs nothing. Every number can follow a schedule.

A name of this module is imported when it is first used, and torch with it: so the command line can
say what it can do at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lehr import callbacks, data, events, init, models, optim, schedules
    from lehr.base.graph_part import Changes, GraphPart
    from lehr.callback import Callback
    from lehr.data import DataBunch
    from lehr.events import CancelBatch, CancelEpoch, CancelFit, Layer, Phase
    from lehr.inspect.audit import audit
    from lehr.learner import Learner
    from lehr.loop.run import Run
    from lehr.record.metrics import accuracy
    from lehr.record.selected import on
    from lehr.record.whole_set import whole
    from lehr.state.streams import seed
    from lehr.transfer import fine_tune

__version__ = "0.1.0"

__all__ = [
    "Callback",
    "CancelBatch",
    "CancelEpoch",
    "CancelFit",
    "Changes",
    "DataBunch",
    "GraphPart",
    "Layer",
    "Learner",
    "Phase",
    "Run",
    "accuracy",
    "audit",
    "callbacks",
    "data",
    "events",
    "fine_tune",
    "init",
    "models",
    "on",
    "optim",
    "schedules",
    "seed",
    "whole",
]

_HOME = {
    "accuracy": "lehr.record.metrics",
    "audit": "lehr.inspect.audit",
    "Callback": "lehr.callback",
    "callbacks": "lehr.callbacks",
    "CancelBatch": "lehr.events",
    "CancelEpoch": "lehr.events",
    "CancelFit": "lehr.events",
    "Changes": "lehr.base.graph_part",
    "data": "lehr.data",
    "DataBunch": "lehr.data",
    "events": "lehr.events",
    "fine_tune": "lehr.transfer",
    "GraphPart": "lehr.base.graph_part",
    "init": "lehr.init",
    "Layer": "lehr.events",
    "Learner": "lehr.learner",
    "models": "lehr.models",
    "on": "lehr.record.selected",
    "optim": "lehr.optim",
    "Phase": "lehr.events",
    "Run": "lehr.loop.run",
    "schedules": "lehr.schedules",
    "seed": "lehr.state.streams",
    "whole": "lehr.record.whole_set",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        from lehr.base.elsewhere import OF_THE_PACKAGE, missing_in

        raise missing_in("lehr", name, OF_THE_PACKAGE, __all__)
    module = import_module(_HOME[name])
    value = globals()[name] = module if module.__name__ == f"lehr.{name}" else vars(module)[name]
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
