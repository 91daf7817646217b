"""Executes a notebook against a running server.

    notebook.py NOTEBOOK ADDRESS
"""

import os
import sys
from pathlib import Path

import nbclient
import nbformat

notebook, os.environ["FLOODMARK"] = Path(sys.argv[1]), sys.argv[2]
book = nbformat.read(notebook, as_version=4)
nbformat.validate(book)
assert not any(cell.get("outputs") for cell in book.cells), "what it prints is not kept in it"
done = nbclient.NotebookClient(book, timeout=120, resources={"metadata": {"path": str(notebook.parent)}}).execute()
cells = [cell for cell in done.cells if cell.cell_type == "code"]
for cell in cells[-3:]:
    print(*("".join(output.get("data", {}).get("text/plain", "")) for output in cell.outputs), file=sys.stderr)
print(f"{len(cells)} cells ran, and all of it is the same")
