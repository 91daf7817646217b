"""Apicurio Registry, which speaks the API of Confluent's schema registry under /apis/ccompat/v7. It keeps nothing over a restart."""

import tarfile
import urllib.request

import processes
from common import Failure, alone, find_java, maven, replacing, runtime, say

VERSION = "3.3.3"
HOME = runtime / "registry" / VERSION


def fetch():
    with alone("registry"):
        if HOME.exists():
            return
        say(f"fetching Apicurio Registry {VERSION} from Maven Central (158 MB)")
        with replacing(HOME) as new:
            archive = new.parent / "archive"
            maven("dependency:copy", f"-Dartifact=io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all", f"-DoutputDirectory={archive}")
            (file,) = archive.iterdir()
            with tarfile.open(file) as files:
                files.extractall(new, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
            if not (new / "quarkus-run.jar").exists():
                raise Failure("the archive of Apicurio Registry has no quarkus-run.jar")


def start(path):
    java = find_java(21, "Apicurio Registry")
    fetch()
    folder = processes.Folder(path, "registry")
    if folder.fresh:
        folder.state["ports"] = processes.free_ports(2)
        folder.save()
    port, management = folder.state["ports"]
    url = f"http://127.0.0.1:{port}"

    def is_ready():
        try:
            with urllib.request.urlopen(f"{url}/apis/ccompat/v7/subjects", timeout=2) as response:
                return response.status == 200
        except OSError:
            return False

    with folder.starting():
        folder.launch(
            "registry",
            # Its folder stands in the command, so that the process is known as the folder's own.
            [java, "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Djava.io.tmpdir={path}/", "-jar", HOME / "quarkus-run.jar"],
            {
                "QUARKUS_HTTP_HOST": "127.0.0.1", "QUARKUS_HTTP_PORT": str(port),
                "QUARKUS_MANAGEMENT_HOST": "127.0.0.1", "QUARKUS_MANAGEMENT_PORT": str(management),
            },
        )
        folder.wait("Apicurio Registry", is_ready)
    folder.ready(["registry"], url=url)
