"""What a training leaves behind: the run folder, its report, and the comparison of two."""

from lehr.report.compare import Comparison, compare
from lehr.report.comparison_page import write_comparison
from lehr.report.evaluate import evaluate
from lehr.report.evaluate_regression import evaluate_regression
from lehr.report.evaluation import Evaluation, Mistake
from lehr.report.page import write_report
from lehr.report.record import RunRecord
from lehr.report.regression import LargeError, Regression
from lehr.report.run_folder import RunFolder

__all__ = [
    "Comparison",
    "Evaluation",
    "LargeError",
    "Mistake",
    "Regression",
    "RunFolder",
    "RunRecord",
    "compare",
    "evaluate",
    "evaluate_regression",
    "write_comparison",
    "write_report",
]
