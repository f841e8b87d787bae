"""Models, losses, data, optimizers and metrics that nobody here wrote: each does all there is."""

import pytest
from torch.optim import lr_scheduler

from . import table
from .client import PARTS, Client, clients, examine

CLIENTS = clients()


def test_there_are_clients_that_need_torch_alone():
    assert len({client.name for client in CLIENTS if not client.packages}) >= 20


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.id)
def test_a_case_says_all_that_the_table_needs(client):
    assert client.title.endswith(".")
    functions = {node.name for node in client.tree.body if hasattr(node, "name")}
    assert {"model", "learner", "valid"} <= functions
    assert ("plain" in functions) != (client.not_plain is not None)
    assert client.refused.keys() <= set(PARTS)


def test_every_scheduler_of_torch_is_a_client():
    kinds = {
        name
        for name, kind in vars(lr_scheduler).items()
        if isinstance(kind, type) and issubclass(kind, lr_scheduler.LRScheduler) and name[0] != "_"
    }
    tried = {client.variant for client in CLIENTS if client.name == "torch_schedulers"}
    assert tried == kinds - {"LRScheduler"} | {"SWALR"}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.id)
def test_a_client(client: Client, part: str, record_property, request):
    record_property("client", client.id)
    record_property("part", part)
    if client.packages:  # their warnings are theirs
        request.getfixturevalue("recwarn")
    if client.missing:
        pytest.skip(f"{', '.join(client.missing)} is not installed: make test-clients")
    if part == "plain" and client.not_plain:
        pytest.skip(client.not_plain)
    examine(client, part)


def test_the_page_is_what_the_results_and_the_cases_say():
    page = table.PAGE.read_text(encoding="utf-8")
    assert page == table.render()
    for client in CLIENTS:
        assert client.title in page
    assert "**differs**" not in page
    assert "**fit fails" not in page
