"""What the scripts beside it share: frames that must be the same."""

import sys

import polars as pl


def same(found, expected, what):
    """Compares columns, rows, order and every bit."""
    found = pl.from_arrow(found) if not isinstance(found, pl.DataFrame) else found
    assert found.columns == expected.columns, f"{what}: {found.columns}"
    assert found.height == expected.height, f"{what}: {found.height} rows"
    differing = [name for name in found.columns if not found[name].equals(expected[name].cast(found[name].dtype), null_equal=True)]
    assert not differing, f"{what}: {differing}"
    print(f"{what}: {found.height} rows and {found.width} columns are the same", file=sys.stderr)
