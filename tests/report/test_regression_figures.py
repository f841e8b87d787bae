import re

import torch

from lehr.report.regression import Regression
from lehr.report.regression_figures import figures, histogram, largest_errors


def test_two_plots_and_the_errors_with_their_rows():
    truth = torch.linspace(0, 20000, 50)
    found = Regression.of(truth, truth + 14870.4, k=2, item_text=lambda i: ("<a>.csv:3", "x < 3"))
    assert figures(found).count("<svg") == 2
    made = largest_errors(found)
    cells = re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", made)
    assert "&lt;a&gt;.csv:3" in made
    assert "14,870" in cells
    assert "x &lt; 3" in cells
    assert "no. 1,234" not in made


def test_an_item_without_a_name_has_its_number_and_no_errors_make_no_table():
    one = Regression.of(torch.ones(1), torch.zeros(1))
    assert "no. 0" in largest_errors(one)
    assert largest_errors(Regression.of(torch.ones(1), torch.zeros(1), k=0)) is None
    assert figures(one) is not None


def test_a_histogram_counts_every_value_once():
    middles, counts = histogram([0.0, 0.5, 0.5, 1.0])
    assert sum(counts) == 4
    assert counts[20] == 2
    assert middles == sorted(middles)
