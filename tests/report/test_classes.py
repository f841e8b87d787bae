import re

import torch

from lehr.report import Evaluation, Mistake
from lehr.report.classes import class_table, confused_pairs, matrix, mistakes, right, shade


def of(confusion, names=None, **rest):
    confusion = torch.as_tensor(confusion)
    names = names or tuple(map(str, range(len(confusion))))
    return Evaluation(loss=0.5, confusion=confusion, classes=tuple(names), **rest)


def test_the_matrix_says_every_number_once():
    made = matrix(of([[1200, 3], [0, 7]], ("cat", "dog")))
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", made)
    assert cells == ["truth ↓ given →", "1,200", "3", "·", "7"]
    assert made.count('scope="col"') == made.count('scope="row"') == 2
    assert 'class="hit full"' in made
    assert 'class="miss"' in made


def test_names_are_escaped_and_long_ones_stand_upright():
    names = ["<script>alert(1)</script>", *"abcd"]
    for made in (
        matrix(of(torch.eye(5).long(), names)),
        class_table(of(torch.eye(5).long(), names)),
        confused_pairs(of(torch.ones(5, 5).long(), names)),
    ):
        assert "<script" not in made
        assert "&lt;script&gt;" in made
    assert "upright" in matrix(of(torch.eye(5).long(), names))
    assert "upright" not in matrix(of(torch.eye(5).long()))


def test_many_classes_are_a_map_and_very_many_are_no_matrix():
    confusion = torch.eye(26).long()
    confusion[3, 4] = 2
    made = matrix(of(confusion, ["<&>"] * 26))
    assert made.count("<rect") == 1 + 27
    assert "<title>&lt;&amp;&gt; → &lt;&amp;&gt;: 2</title>" in made
    assert "<td" not in made
    assert "<td" in matrix(of(torch.eye(25).long()))
    assert matrix(of(torch.eye(100).long())) is not None
    assert matrix(of(torch.eye(101).long())) is None


def test_shades_grow_with_the_share():
    shades = [shade(count, 100) for count in (0, 1, 10, 50, 100)]
    assert shades == sorted(shades)
    assert (shades[0], shades[-1]) == (0.0, 1.0)


def test_confused_pairs():
    assert confused_pairs(of([[1, 0], [0, 1]])) is None
    made = confused_pairs(of([[6, 2], [1, 9]], ("a", "b")))
    assert made.index("a → b") < made.index("b → a")
    assert "25.0 %" in made
    assert "10.0 %" in made


def test_class_table_says_nothing_where_there_is_nothing():
    made = class_table(of([[3, 1], [0, 0]]))
    assert re.findall(r"<td>([^<]*)</td>", made) == [
        *("4", "100 %", "75.0 %", "85.7 %"),
        *("0", "0.0 %", "–", "0.0 %"),
    ]
    assert "<details>" not in made
    assert "<summary>All 26 classes</summary>" in class_table(of(torch.eye(26).long()))


def mistake(**rest):
    return Mistake(
        **{"index": 1234, "truth": 0, "predicted": 1, "p_truth": 0.02, "p_predicted": 0.9, **rest}
    )


def test_mistakes():
    assert mistakes(of([[1]])) is None
    small = torch.zeros(8, 8, 3, dtype=torch.uint8)
    large = torch.zeros(8, 80, 3, dtype=torch.uint8)
    made = mistakes(
        of(
            torch.eye(2).long(),
            ("<a>", "<b>"),
            mistakes=(mistake(picture=small), mistake(picture=large, p_truth=None)),
        )
    )
    assert made.count('src="data:image/png;base64,') == 2
    assert made.count('class="pixels"') == 1
    assert made.count('alt="item 1234: &lt;a&gt;, taken for &lt;b&gt;"') == 2
    assert "2.0 % → 90.0 %" in made
    assert "– → 90.0 %" in made
    assert "no. 1,234" in made
    assert "The 2 items" in made


def test_mistakes_in_words():
    made = mistakes(of(torch.eye(2).long(), mistakes=(mistake(text="x < 3"),)))
    assert '<p class="words">x &lt; 3</p>' in made
    assert "wide-words" in made
    assert "<img" not in made
    assert "The only mistake" in made
    assert 'class="words"' not in mistakes(of(torch.eye(2).long(), mistakes=(mistake(),)))


def test_an_item_is_shown_with_where_it_comes_from():
    made = mistakes(of(torch.eye(2).long(), mistakes=(mistake(name="photos/<1>.jpg"), mistake())))
    assert '<div class="nr">photos/<wbr>&lt;1&gt;.jpg' in made
    assert '<div class="nr">no. 1,234' in made


def test_right_items_stand_beside_the_mistakes():
    assert right(of([[1]])) is None
    picture = torch.zeros(8, 8, 3, dtype=torch.uint8)
    item = mistake(predicted=0, p_predicted=0.02, picture=picture, name="a.jpg")
    made = right(of(torch.eye(2).long(), ("cat", "dog"), right=(item,)))
    assert 'alt="item 1234: cat"' in made
    assert "→" not in made
    assert "2.0 %" in made
    assert "a.jpg" in made
