"""The command line: ``lehr train digits``, and what comes before and after."""

from lehr.cli import audit, look, reports, train, use
from lehr.cli.app import app

__all__ = ["app", "audit", "look", "main", "reports", "train", "use"]

main = app  # the program `lehr`
