"""The command line: ``lehr train digits``, and what comes before and after."""

from lehr.cli import look, reports, train, use
from lehr.cli.app import app

__all__ = ["app", "look", "main", "reports", "train", "use"]

main = app  # the program `lehr`
