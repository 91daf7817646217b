"""The kernel in this process on all events of a file, against what the command has made, and with two threads at once.

    in_process.py DEFINITIONS SERVICE TIME EVENT_ID SPINE SERVED EVENTS
"""

import sys
import threading
import time as clock

import floodmark
import polars as pl
from same import same

definitions, service, time, event_id, spine_path, served, of_events = sys.argv[1:]
source, path = of_events.split("=", 1)
of = {"service": service, "time": time, "event_id": event_id}
expected, spine = pl.read_parquet(served), pl.read_parquet(spine_path)
same(floodmark.training_set(definitions, {source: path}, spine, **of), expected, "in this process")

# The interpreter is let go: another thread goes on while it works.
ticks, over = 0, threading.Event()


def tick():
    global ticks
    while not over.wait(0.01):
        ticks += 1


threading.Thread(target=tick, daemon=True).start()
began = clock.monotonic()
floodmark.training_set(definitions, {source: path}, spine.head(100_000), **of)
over.set()
# Held, there would be a tick or two for each batch of the file.
assert ticks > 20 * (clock.monotonic() - began), f"{ticks} ticks in {clock.monotonic() - began} s"
print("all of it is the same")
