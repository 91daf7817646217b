"""Triton's client, gRPC and HTTP, against a running floodmark."""

import common
import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from tritonclient.utils import InferenceServerException


def tensor(kind, name, values, datatype):
    made = kind.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values)
    return made


def check(kind, client, model, asked, seed, over):
    """All that gRPC and HTTP have in common."""
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("fraud") and client.is_model_ready("fraud", "1")
    assert not client.is_model_ready("fraud", "7") and not client.is_model_ready("nobody")
    as_json = {"as_json": True} if kind is over_grpc else {}
    server = client.get_server_metadata(**as_json)
    common.same(server["name"], "floodmark", f"{over}: server")
    assert {"statistics", "model_configuration", "binary_tensor_data"} <= set(server["extensions"]), server
    metadata = client.get_model_metadata("fraud", **as_json)
    width = len(model.features)
    shape = [str(size) if kind is over_grpc else size for size in (-1, width)]
    common.same(metadata["inputs"], [{"name": model.tensor, "datatype": "FP32", "shape": shape}], f"{over}: inputs")
    common.same(metadata["outputs"], [{"name": "score", "datatype": "FP32", "shape": shape[:1]}], f"{over}: outputs")
    config = client.get_model_config("fraud", **as_json)
    config = config["config"] if kind is over_grpc else config
    common.same((config["backend"], config["input"][0]["data_type"]), ("onnxruntime", "TYPE_FP32"), f"{over}: config")

    for count, missing in [(1, 0), (7, 0), (1000, 0.3)]:
        rows = model.rows(count, seed + count, missing)
        result = client.infer("fraud", [tensor(kind, model.tensor, rows, "FP32")], request_id="r-1")
        common.near(result.as_numpy("score"), model.scores(rows), f"{over}: {count} rows, {missing} missing")
    said = result.get_response(**as_json)
    common.same((said["model_name"], said["model_version"], said["id"]), ("fraud", "1", "r-1"), f"{over}: names")

    rows = model.rows(3, seed)
    one = client.infer("fraud", [tensor(kind, model.tensor, rows[1], "FP32")], model_version="1")
    common.near(one.as_numpy("score"), model.scores(rows[1:2]), f"{over}: one row by itself")
    wide = client.infer("fraud", [tensor(kind, model.tensor, rows.astype(np.float64), "FP64")])
    common.near(wide.as_numpy("score"), model.scores(rows), f"{over}: FP64")
    whole = np.round(rows).astype(np.int64)
    ints = client.infer("fraud", [tensor(kind, model.tensor, whole, "INT64")])
    common.near(ints.as_numpy("score"), model.scores(whole.astype(np.float32)), f"{over}: INT64")
    named = client.infer("fraud", [tensor(kind, model.tensor, rows, "FP32")], outputs=[kind.InferRequestedOutput("score")])
    common.near(named.as_numpy("score"), model.scores(rows), f"{over}: named output")

    looked_up(kind, client, asked, over)

    good = [tensor(kind, model.tensor, rows, "FP32")]
    infer = client.infer
    refused = lambda call, words, what: common.refused(call, InferenceServerException, words, f"{over}: {what}")
    refused(lambda: infer("nobody", good), ["no such model", "nobody"], "unknown model")
    refused(lambda: infer("fraud", good, model_version="7"), ["no such version", "wanted=7", "ready=1"], "unknown version")
    refused(lambda: infer("fraud", [tensor(kind, "Y", rows, "FP32")]), ["tensor=Y", f"expected={model.tensor}"], "unknown tensor")
    narrow = tensor(kind, model.tensor, rows[:, 1:], "FP32")
    refused(lambda: infer("fraud", [narrow]), [f"tensor={model.tensor}", f"expected=[N,{width}]"], "narrow matrix")
    output = [kind.InferRequestedOutput("label")]
    refused(lambda: infer("fraud", good, outputs=output), ["output=label", "expected=score"], "unknown output")
    keys = tensor(kind, "customer_id", np.array([7, 7, 7]), "INT64")
    refused(lambda: infer("fraud", good + [keys]), ["mixes", model.tensor, "customer_id"], "both forms")
    refused(lambda: infer("fraud", [keys]), ["key=terminal_id"], "a key is missing")
    nan = rows.copy()
    nan[2, 0] = np.nan
    refused(lambda: infer("fraud", [tensor(kind, model.tensor, nan, "FP32")]), ["column=amount", "row 2"], "amount is missing")
    # Without --admin, nobody operates models from outside.
    refused(lambda: client.get_model_repository_index(), ["--admin"], "index")
    refused(lambda: client.load_model("fraud"), ["--admin"], "load")
    refused(lambda: client.unload_model("fraud"), ["--admin"], "unload")

    statistics = client.get_inference_statistics("fraud", **as_json)["model_stats"][0]
    assert int(statistics["inference_count"]) >= 1000 and int(statistics["inference_stats"]["success"]["count"]) >= 8, statistics
    assert int(statistics["last_inference"]) > 0 and int(statistics["inference_stats"]["compute_infer"]["ns"]) > 0, statistics
    print(f"ok: {over}: statistics")


def looked_up(kind, client, asked, over):
    """By keys: the bits that floodmark.v1 gives."""
    def tensors(rows):
        of = lambda name, dtype: np.array([row[name] for row in rows], dtype=dtype)
        yield tensor(kind, "customer_id", of("customer_id", np.int64), "INT64")
        yield tensor(kind, "terminal_id", of("terminal_id", np.int32).reshape(-1, 1), "INT32")
        yield tensor(kind, "amount", of("amount", np.float64), "FP64")

    as_of = asked["as_of"]
    result = client.infer("fraud", list(tensors(asked["rows"])), parameters={"as_of": as_of})
    expected = [row["score"] for row in asked["rows"]]
    common.same(result.as_numpy("score").astype(np.float64).tolist(), expected, f"{over}: looked up by key")
    said = result.get_response()
    number = lambda name: said.parameters[name].int64_param if kind is over_grpc else said["parameters"][name]
    common.same(number("watermark_micros"), asked["watermark_micros"], f"{over}: watermark")
    common.same(number("version"), asked["version"], f"{over}: version")
    common.same((number("missing"), number("provisional")), (asked["missing"], asked["provisional"]), f"{over}: missing, provisional")
    text = client.infer("fraud", list(tensors(asked["rows"])), parameters={"as_of": asked["as_of_text"]})
    common.same(text.as_numpy("score").astype(np.float64).tolist(), expected, f"{over}: as of RFC 3339")


def stream(client, model, seed):
    """Answers come in order, errors among them."""
    answers = []
    client.start_stream(lambda result, error: answers.append((result, error)))
    rows = [model.rows(1 + at, seed + at) for at in range(20)]
    for at, some in enumerate(rows):
        name = "Y" if at == 5 else model.tensor
        client.async_stream_infer("fraud", [tensor(over_grpc, name, some, "FP32")], request_id=str(at))
    client.stop_stream()
    assert len(answers) == len(rows)
    for at, (result, error) in enumerate(answers):
        if at == 5:
            assert error is not None and "tensor=Y" in str(error)
            continue
        common.same(result.get_response().id, str(at), "gRPC stream: id")
        common.near(result.as_numpy("score"), model.scores(rows[at]), "gRPC stream")


def main():
    given = common.arguments()
    model = common.Model(given.model)
    with over_grpc.InferenceServerClient(given.grpc) as client:
        check(over_grpc, client, model, given.asked, given.seed, "gRPC")
        stream(client, model, given.seed)
    if given.http:
        with over_http.InferenceServerClient(given.http) as client:
            check(over_http, client, model, given.asked, given.seed, "HTTP")
            # JSON in and out, without binary data.
            rows = model.rows(5, given.seed)
            plain = over_http.InferInput(model.tensor, list(rows.shape), "FP32")
            plain.set_data_from_numpy(rows, binary_data=False)
            output = [over_http.InferRequestedOutput("score", binary_data=False)]
            result = client.infer("fraud", [plain], outputs=output)
            common.near(result.as_numpy("score"), model.scores(rows), "HTTP: plain JSON")
    print("all of Triton's client")


if __name__ == "__main__":
    main()
