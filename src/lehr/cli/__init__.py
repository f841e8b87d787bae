"""The command line: ``lehr train digits``, and what comes before and after."""

from lehr.cli import audit, export, look, replay, reports, resume, train, use
from lehr.cli.app import app

__all__ = ["app", "audit", "export", "look", "main", "replay", "reports", "resume", "train", "use"]

main = app  # the program `lehr`
