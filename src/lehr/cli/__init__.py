"""The command line: ``lehr train digits``, and what comes before and after."""

from lehr.cli.app import app

__all__ = ["app", "main"]

main = app  # the program `lehr`
