"""A running floodmark: training sets, features and scores, events in bulk, side outputs as tables."""

import datetime
import itertools
import json
import time as clock
from collections.abc import Sequence
from typing import Any, TypeAlias

import grpc
import pyarrow as pa
import pyarrow.flight as flight

from floodmark import models, predictions, streams, values
from floodmark.errors import FloodmarkError, told
from floodmark.frames import Frame, Mode, to_arrow, with_columns, with_whole_keys
from floodmark.progress import bar
from floodmark.v1 import features_pb2, features_pb2_grpc, models_pb2, models_pb2_grpc, predictions_pb2_grpc, score_pb2, score_pb2_grpc

#: A time: a day, an instant, or either as text.
Time: TypeAlias = datetime.date | str
#: A version that scores again gives way to live calls: where the server is busy, it waits so many seconds, and twice as long the next time.
_BACK_OFF = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)


class Client:
    """A running ``floodmark up`` or ``floodmark serve``.

    :param address: ``HOST:PORT`` of its gRPC, for example ``127.0.0.1:50051``. It is connected to with the first call.

    Usable as a context manager; a client may be shared by threads.
    """

    def __init__(self, address: str) -> None:
        target = address.removeprefix("http://").removeprefix("grpc://")
        self._channel = grpc.insecure_channel(target)
        self._features = features_pb2_grpc.FeatureServiceStub(self._channel)
        self._scores = score_pb2_grpc.ScoreServiceStub(self._channel)
        self._models = models_pb2_grpc.ModelServiceStub(self._channel)
        self._predictions = predictions_pb2_grpc.PredictionServiceStub(self._channel)
        with told():
            self._flight = flight.connect(f"grpc://{target}")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._channel.close()
        self._flight.close()

    def services(self) -> list[str]:
        """The names of all services."""
        with told():
            return [service.name for service in self._features.ListServices(features_pb2.ListServicesRequest()).services]

    def training_set(
        self,
        spine: Frame,
        *,
        service: str,
        time: str,
        event_id: str | None = None,
        mode: Mode = "as_served",
        version: int | None = None,
        statuses: bool = False,
        progress: bool | None = None,
    ) -> Any:
        """The rows of ``spine``, in their order, with the features of ``service`` beside each, as of the time of each.

        :param spine: the rows to build for, with a column for each key and one for the time; other columns stay.
        :param time: the spine's column with the time that a row's features are as of.
        :param event_id: its column with the id of the event that a row stands for: that event counts in its own windows, ties go by it.
        :param mode: ``as_served``: as it was, or would have been, served. ``as_corrected``: with late events.
        :param version: only commits up to this version are seen; the newest if not said.
        :param statuses: adds a column ``NAME.status`` for each feature: PRESENT, NULL, NOT_FOUND or EXPIRED.
        :param progress: whether to show a bar; ``None`` shows one where it is likely to be looked at.
        :returns: what ``spine`` is: pandas, Polars or Arrow.
        :raises FloodmarkError: it names what is wrong and the way out.
        """
        rows, back = to_arrow(spine)
        asked = {"service": service, "time": time, "event_id": event_id, "mode": mode, "version": version, "statuses": statuses}
        descriptor = flight.FlightDescriptor.for_command(json.dumps({"training_set": asked | {"carry": False}}))
        with told():
            rows = with_whole_keys(spine, rows, lambda: [event_id, *self._keys(service)])
            sent = self._what_matters(rows, service, [time, event_id])
            writer, reader = self._flight.do_exchange(descriptor)
            with writer, bar("training set", rows.num_rows, progress) as done:
                return back(with_columns(rows, streams.exchange(sent, writer, reader, done)))

    def _what_matters(self, rows: pa.Table, service: str, others: list[str | None]) -> pa.Table:
        """The columns that the features are made of: what else the rows have stays here."""
        info = self._flight.get_flight_info(flight.FlightDescriptor.for_path("training_set", service))
        wanted = {*json.loads(info.app_metadata)["spine"], *others}
        added = set(info.schema.names)
        names = rows.schema.names
        if len(set(names)) < len(names) or any(name.removesuffix(".status") in added for name in names):
            return rows  # which is refused, and the server says why
        return rows.select([name for name in names if name in wanted])

    def push(self, events: Frame, *, source: str, partition: str = "") -> dict[str, Any]:
        """Events of a source into the server, durable when this returns. Pushed again, they are recognised by their event ids.

        :param partition: what this producer is called: its events are in order among themselves.
        :returns: how many events were ``accepted`` (of those, ``partially_late``), ``late``, ``rejected``, ``duplicates`` or ``appended`` (to
            the source's topic); ``version``, as of which they can be read; ``rejections``, each with the ``row`` and why.
        """
        rows, _ = to_arrow(events)
        descriptor = flight.FlightDescriptor.for_command(json.dumps({"push": {"source": source, "partition": partition}}))
        total: dict[str, Any] = {**dict.fromkeys(streams.COUNTS, 0), "version": 0, "rejections": []}
        batches = rows.to_batches(max_chunksize=streams.CHUNK_ROWS)
        firsts = list(itertools.accumulate((batch.num_rows for batch in batches), initial=0))
        with told():
            writer, reader = self._flight.do_put(descriptor, rows.schema)
            with writer:
                with streams.beside(lambda: streams.send(batches, writer)):
                    while (said := reader.read()) is not None:
                        streams.add(total, json.loads(said.to_pybytes()), firsts)
        return total

    def features(
        self,
        rows: Frame,
        *,
        service: str | None = None,
        features: Sequence[str] | None = None,
        as_of: datetime.datetime | None = None,
        time: str | None = None,
        version: int | None = None,
        mode: Mode = "as_served",
        event_source: str | None = None,
        statuses: bool = False,
    ) -> Any:
        """The rows with their features beside them, as a model server would get them.

        :param rows: a row for each entity: its keys, and the request fields of the service where it has some.
        :param service: whose features; or
        :param features: features by their full names, such as ``customer_spend.nb_tx_1d``; then all columns are keys.
        :param as_of: the time that values are as of; the server's clock if neither this nor ``time`` is said.
        :param time: the column with that time, row by row.
        :param event_source: each row stands for an event of this source, and its columns are the event's: it counts itself, once.
        """
        if (service is None) == (features is None):
            raise FloodmarkError("either service or features is to be said")
        table, back = to_arrow(rows)
        request = features_pb2.GetFeaturesRequest(mode=("as_served", "as_corrected").index(mode))
        kinds: dict[str, pa.DataType | None] = {}
        keys, fields = [name for name in table.schema.names if name != time], []
        with told():
            if service is not None:
                info = self._features.GetService(features_pb2.GetServiceRequest(service=service))
                kinds = {column.name: values.arrow_type(column) for column in info.columns}
                keys = [key.name for key in info.keys]
                fields = [field.name for field in info.request if field.name in table.schema.names]
                request.service = service
                table = with_whole_keys(rows, table, lambda: keys)
            else:
                request.features.names.extend(features or ())
            _fill(request, table, keys, fields, as_of, time, version, event_source)
            answer = self._features.GetFeatures(request)
        for at, name in enumerate(answer.names):
            column = [values.to_python(row.values[at]) for row in answer.rows]
            table = table.append_column(name, pa.array(column, kinds.get(name)))
        for at, name in enumerate(answer.names if statuses else ()):
            names = [features_pb2.Status.Name(row.statuses[at]).removeprefix("STATUS_") for row in answer.rows]
            table = table.append_column(f"{name}.status", pa.array(names, pa.string()))
        return back(table)

    def score(
        self,
        rows: Frame,
        *,
        model: str,
        model_version: str = "",
        keys: Sequence[str] | None = None,
        request: Sequence[str] = (),
        as_of: datetime.datetime | None = None,
        time: str | None = None,
        version: int | None = None,
        event_source: str | None = None,
    ) -> Any:
        """The rows with the columns ``score`` and ``model_version`` beside them.

        :param rows: a row for each entity or payment: keys, request fields.
        :param model: the model's name.
        :param model_version: a number, or a label after "@"; what the model's labels choose if not said.
        :param keys: the columns with the entities' keys; with ``event_source`` none are needed. By default all that are not ``request``.
        :param request: the columns with request fields.
        :param event_source: each row stands for an event of this source, and its columns are the event's: it counts itself, once.
        """
        table, back = to_arrow(rows)
        if keys is None:
            keys = [] if event_source else [name for name in table.schema.names if name != time and name not in request]
        message = score_pb2.ScoreRequest(model=model, model_version=model_version)
        with told():
            _fill(message, table, list(keys), list(request), as_of, time, version, event_source)
            answer = self._scores.Score(message)
        table = table.append_column("score", pa.array([row.score for row in answer.rows], pa.float64()))
        return back(table.append_column("model_version", pa.array([row.model_version for row in answer.rows], pa.int64())))

    def predictions(self, *, between: tuple[Time, Time] | None = None, limit: int | None = None) -> pa.Table:
        """What was scored and logged (``up --log-predictions SHARE``), in the order in which it was scored.

        A row has ``at``, when it was scored by the server's clock; ``as_of``, the event time that its features were as of; ``version``, that
        of the store; ``model``, ``model_version`` and ``score``, or ``error`` where there is none; then by their names its keys, request fields
        and the columns of its own event; and ``request``, with which :meth:`score_again` scores it again.

        :param between: those that were scored between two times by the server's clock, the second one not included; all if not said.
        :param limit: so many at most, from the oldest on.
        """
        with told():
            return predictions.table(self._predictions.ListPredictions(predictions.asked(between, limit)))

    def score_again(self, rows: pa.Table, *, model_version: int | str) -> pa.Table:
        """Rows of :meth:`predictions`, any of them in any order, with ``score`` and ``model_version`` of another version of their model.

        Each is scored as of the same time and at the same version of the store, where a read is the same for ever: what the version labelled
        ``shadow`` made of a live row is had again to the bit, and so is what a version that did not exist then would have made of it.

        :param model_version: a number, or a label after "@". That version has to be loaded.
        """
        found: dict[int, score_pb2.ScoreRow] = {}
        for request, places in predictions.again(rows, model_version):
            found.update(zip(places, self._patiently(request)))
        return predictions.rescored(rows, found)

    def models(self, model: str | None = None) -> list[dict[str, Any]]:
        """Every version of a model, or of all of them, by name and version: its ``state`` (READY, LOADING, UNAVAILABLE with the ``reason``,
        RETIRED), ``labels``, ``service``, ``inputs``, ``runs`` and ``errors``; and ``differences``, how its scores differ from the answers
        where it was the shadow of another."""
        with told():
            answer = self._models.ListModels(models_pb2.ListModelsRequest(model=model or ""))
        return [models.as_dict(info) for info in answer.models]

    def load_model(self, model: str, version: int | None = None) -> dict[str, Any]:
        """Loads a version from the server's repository beside those that serve, and checks it; the newest if none is said.

        Where no version is labelled ``stable``, the newest that is loaded scores.

        :raises FloodmarkError: the version was refused: at which step, what was expected and what was found. Those that serve go on.
        """
        with told():
            return models.as_dict(self._models.LoadModel(models_pb2.LoadModelRequest(model=model, version=version)))

    def unload_model(self, model: str, version: int) -> dict[str, Any]:
        """Takes a version without labels out of service; calls that have begun end with it."""
        with told():
            return models.as_dict(self._models.UnloadModel(models_pb2.UnloadModelRequest(model=model, version=version)))

    def label_model(self, model: str, label: str, version: int | None) -> list[dict[str, Any]]:
        """Puts a label on a loaded version, and takes it off the one that had it; from the next call on it counts.

        :param label: ``stable`` scores, ``shadow`` scores beside, unseen, ``canary`` scores a share of the entities.
        :param version: ``None`` takes the label away.
        :returns: the model's versions, as :meth:`models` does.
        """
        with told():
            answer = self._models.LabelModel(models_pb2.LabelModelRequest(model=model, label=label, version=version))
        return [models.as_dict(info) for info in answer.models]

    def statistics(
        self,
        *,
        service: str,
        between: tuple[Time, Time],
        against: tuple[Time, Time] | None = None,
        source: str | None = None,
        sample: int | None = None,
    ) -> pa.Table:
        """What a service's features are like over some time, and with ``against`` how far they have moved from another.

        The rows are events between two times, the second one not included, each as it would have been scored; there is a line for each
        feature with counts, nulls, quantiles, and ``psi``, the population stability index: 0 where nothing has moved, above 0.1 worth a
        look, above 0.25 another feature. The server has to have an offline store.

        :param source: the source whose events are the rows; that of the service's first view if not said.
        :param sample: so many rows of each time, the same ones each time that it is asked.
        """
        asked: dict[str, Any] = {"service": service, "source": source, "sample": sample} | _range(between)
        return self._get({"statistics": asked | ({"against": _range(against)} if against else {})})

    def events(
        self, *, source: str, between: tuple[Time, Time], where: dict[str, Any] | None = None, sample: int | None = None
    ) -> pa.Table:
        """Events of a source between two times, the second one not included: rows to build a training set for, for instance. The server has to
        have an offline store.

        :param where: only those with these values in these columns, such as ``{"customer_id": 596}``.
        :param sample: so many of them, the same ones each time; all if not said.
        """
        return self._get({"events": {"source": source, "where": where or {}, "sample": sample} | _range(between)})

    def values(
        self,
        *,
        service: str,
        between: tuple[Time, Time],
        where: dict[str, Any] | None = None,
        source: str = "",
        sample: int | None = None,
        mode: Mode = "as_served",
        statuses: bool = False,
    ) -> pa.Table:
        """A training set without a spine: events between two times with the features of ``service`` that each was scored with, or would have
        been; with ``where`` the history of an entity's values. The server has to have an offline store.

        :param source: whose events; those of the service's first view if not said. The others are as in :meth:`events` and
            :meth:`training_set`.
        """
        asked = {"service": service, "source": source, "where": where or {}, "sample": sample, "mode": mode, "statuses": statuses}
        return self._get({"training_set": asked | _range(between)})

    def table(self, name: str) -> pa.Table:
        """A side output: ``late``, ``rejects`` or ``windows``."""
        with told():
            info = self._flight.get_flight_info(flight.FlightDescriptor.for_path("table", name))
            return self._flight.do_get(info.endpoints[0].ticket).read_all()

    def _patiently(self, request: score_pb2.ScoreRequest) -> Sequence[score_pb2.ScoreRow]:
        for wait in (*_BACK_OFF, None):
            try:
                with told():
                    return self._scores.Score(request).rows
            except FloodmarkError as error:
                if error.code != "RESOURCE_EXHAUSTED" or wait is None:
                    raise
                clock.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _get(self, command: dict[str, Any]) -> pa.Table:
        with told():
            info = self._flight.get_flight_info(flight.FlightDescriptor.for_command(json.dumps(command)))
            return self._flight.do_get(info.endpoints[0].ticket).read_all()

    def _keys(self, service: str) -> list[str]:
        return [key.name for key in self._features.GetService(features_pb2.GetServiceRequest(service=service)).keys]


def _range(between: tuple[Time, Time]) -> dict[str, str]:
    start, end = (time.isoformat() if isinstance(time, datetime.date) else time for time in between)
    return {"from": start, "to": end}


def _fill(
    message: Any,
    table: pa.Table,
    keys: list[str],
    fields: list[str],
    as_of: datetime.datetime | None,
    time: str | None,
    version: int | None,
    event_source: str | None,
) -> None:
    """Rows into a request."""
    known = table.schema.names
    missing = [name for name in [*keys, *fields, *([time] if time else [])] if name not in known]
    if missing and not event_source:
        raise FloodmarkError(f"a column is missing. columns={','.join(missing)} found=[{', '.join(known)}]")
    keys = [key for key in keys if key in known]
    message.key_names.extend(keys)
    message.request_names.extend(fields)
    if as_of is not None:
        message.as_of_micros = values.micros(as_of)
    if version is not None:
        message.version = version
    event: list[str] = []
    if event_source:
        event = known
        message.event_shape.source = event_source
        message.event_shape.columns.extend(event)
    columns = {name: values.of_column(table.column(name)) for name in {*event, *keys, *fields}}
    times = values.micros_of(table.column(time)) if time else None
    for at in range(table.num_rows):
        row = message.rows.add()
        row.keys.extend(columns[name][at] for name in keys)
        row.request.extend(columns[name][at] for name in fields)
        if event:
            row.event.values.extend(columns[name][at] for name in event)
        if times is not None and times[at] is not None:
            row.as_of_micros = times[at]
