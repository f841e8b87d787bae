"""What a training leaves behind: the run folder."""

from lehr.report.run_folder import RunFolder

__all__ = ["RunFolder"]
