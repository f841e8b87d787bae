"""MLflowLog against MLflow's own stores."""

import warnings

import pytest

from lehr.callbacks import MLflowLog, ParamScheduler
from lehr.callbacks.log import mlflow_log
from lehr.schedules import linear
from lehr.testing import tiny_learner

from . import services

pytest.importorskip("mlflow", reason="mlflow is not installed: make test-clients")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def file_store(monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")


def uri(folder, store):
    return f"file://{folder}/mlruns" if store == "file" else f"sqlite:///{folder}/mlflow.db"


def runs(folder, store, experiment="tests"):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri(folder, store))
    number = client.get_experiment_by_name(experiment).experiment_id
    return client, client.search_runs([number])


def axes(client, run):
    return {
        name: [point.step for point in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }


@pytest.mark.parametrize("store", ["file", "database"])
def test_a_fit_that_is_killed_and_resumed_has_each_point_once(tmp_path, store):
    services.killed_and_resumed(f"MLflowLog:{store}", tmp_path)
    client, (run,) = runs(tmp_path, store)
    assert run.info.status == "FINISHED"
    assert axes(client, run) == services.expected()


def test_the_values_are_those_of_the_history_and_each_fit_is_a_run(tmp_path):
    driver = ParamScheduler("lr", linear(0.4, 0.0), group=0)
    log = MLflowLog("tests", tracking_uri=uri(tmp_path, "database"), name="mine")
    learn = tiny_learner([log, driver])
    run = learn.fit(2)
    learn.fit(1)
    client, found = runs(tmp_path, "database")
    assert len(found) == 2
    first = found[-1]
    assert first.info.run_name == "mine"
    assert first.data.params == {"seed": "0"}
    values = [point.value for point in client.get_metric_history(first.info.run_id, "loss")]
    assert values == run.history["loss"]
    assert "lr_0_" in first.data.metrics  # MLflow allows no brackets


@pytest.mark.parametrize("store", ["file", "database"])
@pytest.mark.parametrize("arrived", [False, True])
def test_a_request_that_fails_halfway_doubles_no_point(tmp_path, monkeypatch, store, arrived):
    from mlflow.tracking import MlflowClient

    real, calls = MlflowClient.log_batch, []

    def fails_once(client, *args, **kwargs):
        calls.append(len(kwargs["metrics"]))
        if len(calls) != 3 or arrived:
            real(client, *args, **kwargs)
        if len(calls) == 3:
            raise ConnectionError("no answer")

    monkeypatch.setattr(MlflowClient, "log_batch", fails_once)
    monkeypatch.setattr(mlflow_log, "_MOST", 3)
    log = MLflowLog("tests", tracking_uri=uri(tmp_path, store))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tiny_learner([log]).fit(3, validate_every="2 steps")
    assert any("cannot reach its service: ConnectionError" in str(one.message) for one in caught)
    client, (run,) = runs(tmp_path, store)
    assert axes(client, run) == services.expected()


def test_an_error_of_the_fit_is_said(tmp_path):
    log = MLflowLog("tests", tracking_uri=uri(tmp_path, "database"))
    learn = tiny_learner([log], loss_func=lambda pred, yb: 1 / 0)
    learn.rehearsal = False
    with pytest.raises(ZeroDivisionError):
        learn.fit(1)
    assert [run.info.status for run in runs(tmp_path, "database")[1]] == ["FAILED"]


def test_a_store_that_does_not_answer_ends_no_fit(tmp_path):
    log = MLflowLog("tests", tracking_uri=f"sqlite:///{tmp_path}/nowhere/mlflow.db")
    (tmp_path / "nowhere").write_text("in the way")
    with pytest.warns(UserWarning, match="MLflowLog cannot reach its service"):
        assert tiny_learner([log]).fit(1).n_steps == 4
