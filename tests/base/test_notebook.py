"""Where the program runs."""

import sys
import types

from lehr.base.notebook import in_notebook, ipython_shell, is_interactive


def test_a_script_is_neither_interactive_nor_in_a_notebook(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert ipython_shell() is None
    assert not in_notebook()
    assert not is_interactive()


def test_a_prompt_is_interactive(monkeypatch):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    assert is_interactive()


def test_ipython_is_interactive_and_a_kernel_is_a_notebook(monkeypatch):
    shell = types.SimpleNamespace(config={})
    fake = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", fake)
    assert is_interactive()
    assert not in_notebook()
    shell.config["IPKernelApp"] = {}
    assert in_notebook()
