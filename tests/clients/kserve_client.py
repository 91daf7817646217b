"""KServe's client, gRPC and REST, against a running floodmark. In a process of its own: its messages have the names of Triton's."""

import asyncio
import logging
import sys

import common
import grpc
import httpx
import numpy as np

# KServe's package reads the command line as soon as it is imported, and would refuse ours.
GIVEN = common.arguments()
del sys.argv[1:]

from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig  # noqa: E402
from kserve.protocol.infer_type import RequestedOutput  # noqa: E402


def raw(name, values, datatype):
    made = InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=True)
    return made


def typed(name, values, datatype):
    return InferInput(name, list(values.shape), datatype, data=values.reshape(-1).tolist())


def request(inputs, model="fraud", **more):
    return InferRequest(model_name=model, infer_inputs=inputs, **more)


async def refused(call, error, words, what):
    """As common.refused, for what must be waited for."""
    try:
        await call
    except error as refusal:
        def again(refusal=refusal):
            raise refusal

        return common.refused(again, error, words, what)
    raise AssertionError(f"{what}: was not refused")


async def check(infer, error, model, asked, seed, over):
    """All that gRPC and REST have in common."""
    for tensor in (raw, typed):
        how = f"{over}, {tensor.__name__}"
        for count, missing in [(1, 0), (300, 0.3)]:
            rows = model.rows(count, seed + count, missing)
            response = await infer(request([tensor(model.tensor, rows, "FP32")], request_id="r-1"))
            common.near(response.outputs[0].as_numpy(), model.scores(rows), f"{how}: {count} rows, {missing} missing")
            common.same((response.model_name, response.id), ("fraud", "r-1"), f"{how}: names")
        rows = model.rows(4, seed)
        response = await infer(request([tensor(model.tensor, rows.astype(np.float64), "FP64")]))
        common.near(response.outputs[0].as_numpy(), model.scores(rows), f"{how}: FP64")
        named = request([tensor(model.tensor, rows, "FP32")], request_outputs=[RequestedOutput("score")])
        common.near((await infer(named)).outputs[0].as_numpy(), model.scores(rows), f"{how}: named output")

        of = lambda name, dtype: np.array([row[name] for row in asked["rows"]], dtype=dtype)
        keys = [
            tensor("customer_id", of("customer_id", np.int64), "INT64"),
            tensor("terminal_id", of("terminal_id", np.int32), "INT32"),
            tensor("amount", of("amount", np.float64), "FP64"),
        ]
        response = await infer(request(keys, parameters={"as_of": asked["as_of"]}))
        expected = [row["score"] for row in asked["rows"]]
        common.same(response.outputs[0].as_numpy().astype(np.float64).tolist(), expected, f"{how}: looked up by key")
        text = request(keys, parameters={"as_of": asked["as_of_text"]})
        found = (await infer(text)).outputs[0].as_numpy().astype(np.float64).tolist()
        common.same(found, expected, f"{how}: as of RFC 3339")

        wrong = tensor("Y", rows, "FP32")
        await refused(infer(request([wrong])), error, ["tensor=Y"], f"{how}: unknown tensor")
        mixed = [tensor(model.tensor, rows, "FP32"), keys[0]]
        await refused(infer(request(mixed)), error, ["mixes"], f"{how}: both forms")
    rows = model.rows(1, seed)
    await refused(infer(request([raw(model.tensor, rows, "FP32")], model="nobody")), error, ["no such model"], f"{over}: unknown model")


async def main():
    logging.disable(logging.CRITICAL)  # the client logs what it raises
    given = GIVEN
    model = common.Model(given.model)
    client = InferenceGRPCClient(given.grpc)
    assert await client.is_server_live() and await client.is_server_ready() and await client.is_model_ready("fraud")
    assert not await client.is_model_ready("nobody")
    await check(client.infer, grpc.RpcError, model, given.asked, given.seed, "gRPC")
    rows = model.rows(2, given.seed)
    versioned = await client.infer(request([raw(model.tensor, rows, "FP32")], model_version="1"))
    common.same(versioned.model_version, "1", "gRPC: version")
    gone = client.infer(request([raw(model.tensor, rows, "FP32")], model_version="7"))
    await refused(gone, grpc.RpcError, ["no such version"], "gRPC: unknown version")
    await client.close()

    if given.http:
        url = f"http://{given.http}"
        client = InferenceRESTClient(RESTConfig(protocol="v2"))
        assert await client.is_server_live(url) and await client.is_server_ready(url) and await client.is_model_ready(url, "fraud")
        assert not await client.is_model_ready(url, "nobody")

        async def infer(asked):
            return await client.infer(url, asked, model_name=asked.model_name)

        await check(infer, httpx.HTTPStatusError, model, given.asked, given.seed, "REST")
        await client.close()
    print("all of KServe's client")


if __name__ == "__main__":
    asyncio.run(main())
