"""What a run folder tells of the times that its run was gone on with."""

import pytest

from lehr.report.resumes import going_on, longer_commands, resumes

OLD = {"started": "monday", "lehr": "0.1.0", "settings": {"epochs": 3, "seed": 0}}
NEW = {"started": "tuesday", "lehr": "0.2.0", "settings": {"epochs": 6, "seed": 0}}


def test_what_changed_has_its_old_and_its_new_value():
    record = going_on(OLD, NEW, {"threads": 2}, {"threads": 1})
    assert record["started"] == "monday"
    assert record["lehr"] == "0.1.0"
    changed = {"lehr": ["0.1.0", "0.2.0"], "epochs": [3, 6], "threads": [2, 1]}
    assert record["resumes"] == [{"time": "tuesday", "changed": changed}]


def test_every_time_adds_one_and_where_nothing_changed_nothing_is_said():
    once = OLD | going_on(OLD, {**OLD, "started": "tuesday"}, {}, {})
    twice = going_on(once, {**NEW, "started": "wednesday"}, {}, {})
    assert [record["time"] for record in twice["resumes"]] == ["tuesday", "wednesday"]
    assert [bool(record["changed"]) for record in twice["resumes"]] == [False, True]


@pytest.mark.parametrize("damaged", [None, 3, "resumes", {"changed": {}}, [3, None, "x"]])
def test_a_damaged_record_tells_of_none(damaged):
    assert resumes({"resumes": damaged}) == []
    assert longer_commands({"resumes": damaged}, "runs/a") == []


def test_only_what_made_it_longer_is_a_command():
    record = [
        {"changed": {"epochs": [3, 6]}},
        {"changed": {"threads": [2, 1]}},
        {"changed": {"epochs": [6, "many"]}},
        {"changed": {"epochs": [6]}},
        {},
        {"changed": {"epochs": [6, 9]}},
    ]
    found = longer_commands({"resumes": record}, "runs/my run")
    assert found == ["lehr resume 'runs/my run' --epochs 6", "lehr resume 'runs/my run' --epochs 9"]
