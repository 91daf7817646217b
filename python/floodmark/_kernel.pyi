from typing import Any

import pyarrow as pa

__version__: str

class Definitions:
    def __init__(self, name: str, text: str) -> None: ...
    @property
    def services(self) -> list[str]: ...
    @property
    def sources(self) -> list[tuple[str, str, str | None, list[str]]]: ...
    def parts(self, service: str) -> list[tuple[str, list[str], list[str], list[str]]]: ...
    def derive(self, service: str, rows: pa.RecordBatch) -> pa.RecordBatch: ...

class Events:
    def __init__(self, definitions: Definitions) -> None: ...
    def take(self, source: str, batches: Any, by_event_time: bool) -> dict[str, Any]: ...
    def recall(self, sources: list[tuple[str, Any]]) -> int: ...
    def recall_place(self, place: str) -> int: ...
    def training_set(
        self,
        definitions: Definitions,
        rows: Any,
        *,
        service: str,
        features: list[str] | None,
        time: str,
        event_id: str | None,
        mode: str,
        version: int | None,
        statuses: bool,
        threads: int | None,
    ) -> pa.RecordBatchReader: ...
