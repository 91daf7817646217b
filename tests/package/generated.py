"""The messages that are checked in are those of the .proto files.

    generated.py PROTO PACKAGE
"""

import pathlib
import sys
import tempfile

from grpc_tools import protoc

proto, package = map(pathlib.Path, sys.argv[1:])
with tempfile.TemporaryDirectory() as made:
    sources = [str(proto / "floodmark/v1" / f"{name}.proto") for name in ("value", "features", "score", "models", "predictions")]
    outs = [f"--{kind}_out={made}" for kind in ("python", "pyi", "grpc_python")]
    assert protoc.main(["protoc", f"--proto_path={proto}", *outs, *sources]) == 0
    found = sorted(path.name for path in (package / "v1").glob("*_pb2*"))
    assert len(found) == 14, found
    for name in found:
        same = (package / "v1" / name).read_text() == (pathlib.Path(made) / "floodmark/v1" / name).read_text()
        assert same, f"{name} is not what its .proto says: run python/generate"
print(f"{len(found)} files, all of it is the same")
