"""For people who test callbacks: a small Learner, a log of what happens, and the contract.

Example:
    >>> from lehr import Callback
    >>> class Printer(Callback):
    ...     state = ()
    ...     def after_epoch(self, run):
    ...         pass
    >>> check_callback(Printer)
"""

from lehr.testing.contract import check_callback
from lehr.testing.small import EventLog, tiny_learner

__all__ = ["EventLog", "check_callback", "tiny_learner"]
