"""The kernel inside Apache Spark, in one process with two workers and four partitions, against what the command has made.

    in_spark.py DEFINITIONS SERVICE TIME EVENT_ID SPINE SERVED CORRECTED EVENTS

EVENTS is a source's name and "=" and a Parquet file of events that all came on time, or a folder with the source's table of the offline store.
"""

import os
import sys
import tempfile

os.environ["PYSPARK_PYTHON"] = sys.executable

import floodmark
import floodmark.spark
import polars as pl
from deltalake import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from same import same

definitions, service, time, event_id, spine_path, served, corrected, of_events = sys.argv[1:]
settings = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.memory": "1g",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "4",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
builder = SparkSession.builder.master("local[2]")
for name, value in settings.items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
spark.sparkContext.setLogLevel("ERROR")
source, path = of_events.split("=", 1)
files = DeltaTable(path).file_uris() if os.path.isdir(path) else [path]
events = spark.read.parquet(*files)
# Spark keeps no order; the place of a row does.
order = "_place"
with tempfile.TemporaryDirectory() as home:
    pl.read_parquet(spine_path).with_row_index(order).write_parquet(f"{home}/spine.parquet")
    spine = spark.read.parquet(f"{home}/spine.parquet")
    for mode, path in (("as_served", served), ("as_corrected", corrected)):
        if path == "-":
            continue
        made = floodmark.spark.training_set(
            spark, definitions, {source: events}, spine, service=service, time=time, event_id=event_id, mode=mode, statuses=mode == "as_served"
        )
        made.write.parquet(f"{home}/{mode}")
        found = pl.read_parquet(f"{home}/{mode}/*.parquet").sort(order).drop(order)
        expected = pl.read_parquet(path)
        assert mode == "as_corrected" or found.columns[expected.width].endswith(".status"), found.columns
        same(found.select(found.columns[: expected.width]), expected, f"Spark, {mode}")
    nothing = floodmark.spark.training_set(spark, definitions, {source: events}, spine.limit(0), service=service, time=time)
    assert nothing.count() == 0

for spine, given, words in (
    (spine.drop(time), {source: events}, "spine lacks the time column"),
    (spine, {}, "the events of a source are missing"),
    (spine, {source: events.drop(time)}, "a column is missing"),
    (spine.withColumn(time, F.lit("x")), {source: events}, "time column has a type"),
):
    try:
        floodmark.spark.training_set(spark, definitions, given, spine, service=service, time=time)
    except floodmark.FloodmarkError as error:
        assert words in str(error), f"{words}: {error}"
    else:
        raise AssertionError(f"not refused: {words}")
spark.stop()
print("all of it is the same in Spark")
