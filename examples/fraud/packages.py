"""Runs a script with exactly the packages that it pins, in an environment that `.ci/python` makes once."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def enter(name, requirements):
    """Goes on as the same script in the environment `name`."""
    if Path(sys.prefix).resolve() == ROOT / ".runtime" / "python" / name:
        return
    made = subprocess.run([ROOT / ".ci" / "python", name, requirements], stdout=subprocess.PIPE, text=True)
    if made.returncode != 0:
        sys.exit(made.returncode)  # It has said why.
    python = made.stdout.strip()
    os.execv(python, [python, *sys.argv])
