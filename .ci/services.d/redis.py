"""Redis 7, or Valkey in its place: the one that is installed, or Debian's packages unpacked and not installed; one server, a cluster, or a sentinel set."""

import pathlib
import re
import shutil
import socket
import subprocess

import certificates
import packages
import processes
from common import Failure, alone, replacing, run, runtime, say

HOME = runtime / "redis"
VALKEY = runtime / "valkey"
COMMANDS = ("redis-server", "redis-cli")
MASTER = "floodmark"
BUS = 10000
"""A cluster's nodes talk to each other this far above their ports."""


def version_of(server):
    try:
        told = subprocess.run([server, "--version"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"v=(\d+)", told)
    return int(found[1]) if found else None


def installed():
    """The folder of a redis-server on PATH that is new enough and has its redis-cli beside it."""
    server = shutil.which("redis-server")
    if server and (pathlib.Path(server).parent / "redis-cli").exists() and (version_of(server) or 0) >= 7:
        return pathlib.Path(server).parent
    return None


def find():
    """The folder of the commands, or nothing."""
    if (HOME / "bin/redis-server").exists():
        return HOME / "bin"
    return installed()


def fetch():
    if find():
        return
    with alone("redis"):
        if find():
            return
        say("fetching Redis, as packages that are unpacked and not installed")
        with replacing(HOME) as new:
            unpack(new)
        say(f"ready: {HOME.relative_to(runtime.parent)} (Redis {version_of(HOME / 'bin/redis-server')})")


ELSEWHERE = "or install Redis 7 by other means, with redis-server and redis-cli on PATH"


def unpack(new):
    # The server is this program by another name.
    files = {name: name if name == "redis-cli" else "redis-check-rdb" for name in COMMANDS}
    packages.unpack(new, ["redis-server", "redis-tools"], files, ELSEWHERE)
    if (version_of(new / "bin/redis-server") or 0) < 7:
        run([new / "bin/redis-server", "--version"])
        raise Failure("the redis-server of the packages does not start, or is older than 7; see above", f"this is for Debian 12; {ELSEWHERE}")


def fetch_valkey():
    """The folder of Valkey's commands, by the names that Redis's have. Fetched where it is first wanted."""
    if not (VALKEY / "bin/redis-server").exists():
        with alone("valkey"):
            if not (VALKEY / "bin/redis-server").exists():
                say("fetching Valkey, as packages that are unpacked and not installed")
                with replacing(VALKEY) as new:
                    files = {"redis-server": "valkey-check-rdb", "redis-cli": "valkey-cli"}
                    packages.unpack(new, ["valkey-server", "valkey-tools"], files, "or do without: only tests want Valkey", backports=True)
                    if not (version_of(new / "bin/redis-server") or 0):
                        raise Failure("the valkey-server of the packages does not start")
                say(f"ready: {VALKEY.relative_to(runtime.parent)} (Valkey {version_of(VALKEY / 'bin/redis-server')})")
    return VALKEY / "bin"


def start(path, shape, valkey=None, tls=None):
    valkey = valkey or processes.read_state(path).get("valkey")
    commands = fetch_valkey() if valkey else find()
    if not commands:
        raise Failure("Redis is not fetched, and none of 7 or newer is on PATH", "run .ci/services fetch", status=3)
    made = (path / processes.STATE).exists()
    folder = processes.Folder(path, "redis", shape=shape if shape or made else "one", valkey=valkey, tls=tls)
    with folder.starting():
        {"one": one, "cluster": cluster, "sentinel": sentinel}[folder.state["shape"]](folder, commands)


def ports_of(folder, count, also=()):
    if folder.fresh:
        folder.state["ports"] = processes.free_ports(count, also)
        folder.save()
    return folder.state["ports"]


def tls_of(folder, port):
    """Lines of settings by which a server speaks TLS too, and asks each client for a certificate."""
    if not folder.state["tls"]:
        return []
    made = certificates.make(folder.path)
    files = (f"tls-ca-cert-file {made['ca']}", f"tls-cert-file {made['cert']}", f"tls-key-file {made['key']}")
    return [f"tls-port {port}", "tls-auth-clients optional", *files]


def launch(folder, commands, name, port, *settings, flags=()):
    """The server rewrites its file when its role changes, so that a file that is there is the one to go on with."""
    file = folder.path / f"{name}.conf"
    if not file.exists():
        (folder.path / f"data-{name}").mkdir(exist_ok=True)
        new = file.with_suffix(".tmp")
        common = [f"port {port}", "bind 127.0.0.1", f"dir ./data-{name}"]
        new.write_text("\n".join([*common, *settings]) + "\n")
        new.rename(file)
    folder.launch(name, [commands / "redis-server", file, *flags])


# A master would wait five seconds for more replicas before it sends what it has.
# A test may want memory to go back to what was saved, as after a failover that lost something.
SERVER = ('save ""', "appendonly no", "repl-diskless-sync-delay 0", "enable-debug-command local")


def one(folder, commands):
    port, secure = ports_of(folder, 2)
    launch(folder, commands, "redis", port, *SERVER, *tls_of(folder, secure))
    folder.wait("Redis", lambda: ask(port, "PING") == "PONG")
    tls = {"tls": f"127.0.0.1:{secure}", **certificates.make(folder.path)} if folder.state["tls"] else {}
    folder.ready(["redis"], url=f"redis://127.0.0.1:{port}", **tls)


def cluster(folder, commands):
    ports = ports_of(folder, 6, (BUS,))
    names = {f"node-{n + 1}": port for n, port in enumerate(ports)}
    for name, port in names.items():
        launch(folder, commands, name, port, *SERVER, "cluster-enabled yes", "cluster-config-file nodes.conf", "cluster-node-timeout 2000")
    folder.wait("Redis", lambda: all(ask(port, "PING") == "PONG" for port in ports))
    nodes = [f"127.0.0.1:{port}" for port in ports]
    if "cluster_known_nodes:1\r" in (ask(ports[0], "CLUSTER INFO") or ""):
        made = subprocess.run(
            [commands / "redis-cli", "--cluster", "create", *nodes, "--cluster-replicas", "1", "--cluster-yes"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=processes.PATIENCE,
        )
        if made.returncode != 0:
            raise Failure("redis-cli could not make the cluster", *("  " + line for line in made.stdout.splitlines()[-25:]))

    # The cluster calls itself ok before its replicas have attached.
    def is_whole():
        roles = [ask(port, "INFO replication") or "" for port in ports]
        return (
            all("cluster_state:ok" in (ask(port, "CLUSTER INFO") or "") for port in ports)
            and sum("role:master" in role for role in roles) == 3
            and sum("master_link_status:up" in role for role in roles) == 3
            and sum(role.count("state=online") for role in roles) == 3
        )

    folder.wait("the cluster", is_whole)
    folder.ready(names, nodes=nodes)


def sentinel(folder, commands):
    ports = ports_of(folder, 5)
    servers, sentinels = ports[:2], ports[2:]
    launch(folder, commands, "redis-1", servers[0], *SERVER)
    launch(folder, commands, "redis-2", servers[1], *SERVER, f"replicaof 127.0.0.1 {servers[0]}")

    def attached():
        return any("state=online" in (ask(port, "INFO replication") or "") for port in servers)

    # Sentinels ask a master for its replicas when they meet it, and then only every ten seconds.
    # At a later start the two may wait for the sentinels to tell them who is who.
    if folder.fresh:
        folder.wait("the replica", attached)
    names = {f"sentinel-{n + 1}": port for n, port in enumerate(sentinels)}
    for name, port in names.items():
        launch(
            folder, commands, name, port, f"sentinel monitor {MASTER} 127.0.0.1 {servers[0]} 2",
            f"sentinel down-after-milliseconds {MASTER} 500", f"sentinel failover-timeout {MASTER} 3000", f"sentinel parallel-syncs {MASTER} 1",
            flags=["--sentinel"],  # redis-sentinel is a package of its own, and the same program
        )

    def sees_all(port):
        told = dict(pairs(ask(port, f"SENTINEL MASTER {MASTER}")))
        return told.get("flags") == "master" and told.get("num-other-sentinels") == "2" and int(told.get("num-slaves", 0)) >= 1

    folder.wait("the sentinels", lambda: all(map(sees_all, sentinels)) and attached())
    folder.ready(["redis-1", "redis-2", *names], sentinels=[f"127.0.0.1:{port}" for port in sentinels], master=MASTER)


def pairs(values):
    return zip(values[::2], values[1::2]) if isinstance(values, list) else []


def ask(port, command):
    """The answer to a command, or nothing while there is none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection, connection.makefile("rb") as stream:
            connection.sendall(command.encode() + b"\r\n")
            return answer(stream)
    except OSError:
        return None


def answer(stream):
    line = stream.readline().rstrip(b"\r\n").decode()
    kind, rest = line[:1], line[1:]
    if kind in "+:":
        return rest
    if kind == "$" and rest != "-1":
        return stream.read(int(rest) + 2)[:-2].decode(errors="replace")
    if kind == "*":
        return [answer(stream) for _ in range(int(rest))]
    return None
