"""Reads the tables of offline stores as their users do, and says what each reader has found, a line of JSON for each store.

    readers.py FOLDER...
"""

import hashlib
import json
import sys

import deltalake
import duckdb
import polars

# Its Delta extension is downloaded, so DuckDB is given the files that the table's log names.
COUNT = "select count(*), count(distinct id), sum(id) from read_parquet(?)"


def events(folder):
    """For each reader: rows, different ids, their sum."""
    table = deltalake.DeltaTable(f"{folder}/events/payments")
    ids = table.to_pyarrow_table(columns=["id"])["id"].to_pylist()
    frame = polars.scan_delta(f"{folder}/events/payments").select("id").collect()
    files = [f"{folder}/events/payments/{path}" for path in table.get_add_actions(flatten=True)["path"].to_pylist()]
    return {
        "deltalake": [len(ids), len(set(ids)), sum(ids)],
        "polars": [frame.height, frame["id"].n_unique(), frame["id"].sum()],
        "duckdb": [int(found) for found in duckdb.execute(COUNT, [files]).fetchone()],
    }


def digest(folder):
    """Of all that is known of each event but its version, in the order of their coming."""
    frame = polars.read_delta(f"{folder}/events/payments").sort("_sequence").drop("_version")
    text = frame.with_columns(polars.col("amount").reinterpret(signed=True)).write_csv()
    return hashlib.sha256(text.encode()).hexdigest()


def rows(folder, table):
    return polars.scan_delta(f"{folder}/{table}").select(polars.len()).collect().item()


def of(folder):
    side = {table: rows(folder, table) for table in ["late", "rejects", "windows"]}
    commits = deltalake.DeltaTable(f"{folder}/events/payments").version()
    return {"events": events(folder), "digest": digest(folder), "commits": commits, **side}


for place in sys.argv[1:]:
    print(json.dumps(of(place)))
