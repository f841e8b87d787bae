"""One kernel runs many notebooks, each as a new kernel would: torch is imported only once."""

from pathlib import Path

import nbformat
import pytest
from jupyter_core.utils import run_sync
from nbclient import NotebookClient

AS_NEW = """
import os, matplotlib.pyplot, torch, lehr
os.chdir({folder!r})
os.environ["LEHR_DATA"] = ""  # the small digits
matplotlib.pyplot.close("all")
lehr.seed(None)
torch.manual_seed(67280421310721)  # the seed of a new process
%reset -f
"""


class Kernel:
    """Runs notebooks one after another; no name of one is there in the next."""

    def __init__(self) -> None:
        self._manager = NotebookClient(nbformat.v4.new_notebook()).create_kernel_manager()

    def run(self, notebook: nbformat.NotebookNode, folder: Path) -> list[nbformat.NotebookNode]:
        """The code cells after a run from top to bottom in a folder, on one thread."""
        first = nbformat.v4.new_code_cell(AS_NEW.format(folder=str(folder)))
        notebook.cells.insert(0, first)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OMP_NUM_THREADS", "1")
            client = NotebookClient(notebook, km=self._manager, timeout=120)
            try:
                client.execute()
            finally:
                client.kc.stop_channels()
        assert not first.outputs
        return [cell for cell in notebook.cells[1:] if cell.cell_type == "code"]

    def end(self) -> None:
        """End the process, if there is one."""
        if self._manager.has_kernel:
            run_sync(self._manager.shutdown_kernel)(now=True)
