"""Apache Kafka from its jars: one node that is broker and controller, or three."""

import os
import pathlib
import re
import shutil
import subprocess

import certificates
import processes
from common import Failure, alone, find_java, here, maven, replacing, runtime, say, sha256

LIBS = runtime / "kafka/libs"
FLAGS = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true"]
CLUSTER_ID = "AAAAAAAAAAAAAAAAAAAAAA"


def stamp():
    return f"{sha256(here / 'pom.xml')} {sha256(here / 'kafka.sha256')}\n"


def is_fetched():
    try:
        return (LIBS / ".stamp").read_text() == stamp()
    except OSError:
        return False


def fetch():
    find_java(17, "Kafka", status=1)
    if is_fetched():
        return
    with alone("kafka"):
        if is_fetched():
            return
        say("fetching the jars of Kafka from Maven Central (45, 43 MB)")
        with replacing(LIBS) as new:
            maven("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={new}")
            known = {name: sum for sum, name in (line.split() for line in (here / "kafka.sha256").read_text().splitlines())}
            found = {jar.name: sha256(jar) for jar in new.iterdir()}
            if strange := sorted(name for name in known.keys() | found.keys() if known.get(name) != found.get(name)):
                raise Failure("these jars are not those of services.d/kafka.sha256: " + ", ".join(strange))
            (new / ".stamp").write_text(stamp())
        say(f"ready: {LIBS.relative_to(runtime.parent)}")


USER, PASSWORD = "floodmark", "not a secret"
"""Who is let in by SASL."""


def secured(node, path):
    """Two listeners more: TLS that asks for a client's certificate, and TLS with a name and a password. All files are PEM."""
    made = certificates.make(path)
    login = f'org.apache.kafka.common.security.{{}}LoginModule required'
    scram, plain = login.format("scram.Scram"), login.format("plain.Plain")
    return f"""
ssl.keystore.type=PEM
ssl.keystore.location={path / 'identity.pem'}
ssl.truststore.type=PEM
ssl.truststore.location={made['ca']}
listener.name.tls.ssl.client.auth=required
listener.name.sasl.ssl.client.auth=none
listener.name.sasl.sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.sasl.scram-sha-512.sasl.jaas.config={scram};
listener.name.sasl.plain.sasl.jaas.config={plain} user_{USER}="{PASSWORD}";
"""


def properties(node, nodes, scan, proxy, secure, path):
    voters = ",".join(f"{each['id']}@127.0.0.1:{each['controller']}" for each in nodes)
    copies, least = (1, 1) if len(nodes) == 1 else (3, 2)
    session, heartbeat = (2000, 200) if len(nodes) == 1 else (3000, 500)
    # What the broker tells clients of itself leads those that came by a proxy back to it.
    listens, tells, maps = ("", "", "") if proxy is None else (
        f",PROXIED://127.0.0.1:{node['proxied']}", f",PROXIED://127.0.0.1:{proxy}", ",PROXIED:PLAINTEXT")
    if secure:
        more = f",TLS://127.0.0.1:{node['tls']},SASL://127.0.0.1:{node['sasl']}"
        listens, tells, maps = listens + more, tells + more, maps + ",TLS:SSL,SASL:SASL_SSL"
    return f"""\
process.roles=broker,controller
node.id={node['id']}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{node['port']},CONTROLLER://127.0.0.1:{node['controller']}{listens}
advertised.listeners=PLAINTEXT://127.0.0.1:{node['port']}{tells}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{maps}
log.dirs=data-{node['id']}

# Small, and quick to start.
num.partitions=4
num.network.threads=2
num.io.threads=2
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=2097152
group.coordinator.threads=1
offsets.topic.num.partitions=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.num.partitions=1

default.replication.factor={copies}
min.insync.replicas={least}
offsets.topic.replication.factor={copies}
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={least}
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr={least}

# The tests make their topics, and send records of 10 MB.
auto.create.topics.enable=false
message.max.bytes=20971520
replica.fetch.max.bytes=20971520

# Groups form at once, and may ask for short times.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
group.consumer.min.session.timeout.ms=500
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=500

# Overdue transactions end soon; ten seconds is what a broker does by itself.
transaction.abort.timed.out.transaction.cleanup.interval.ms={scan}

# A dead node is noticed soon. One that was killed is refused until then when it comes back, and asks again as often as it would beat.
broker.session.timeout.ms={session}
broker.heartbeat.interval.ms={heartbeat}
""" + (secured(node, path) if secure else "")


def start(path, count, scan, proxy=None, secure=False):
    if not is_fetched():
        raise Failure("Kafka is not fetched, or is another version than that of services.d/pom.xml", "run .ci/services fetch", status=3)
    java = find_java(17, "Kafka")
    heap = os.environ.get("FLOODMARK_KAFKA_HEAP") or "256m"
    if not re.fullmatch(r"\d+[kKmMgG]", heap):
        raise Failure(f"FLOODMARK_KAFKA_HEAP is a size like 256m or 1g. it is={heap}")
    folder = processes.Folder(path, "kafka", count=count if count or (path / processes.STATE).exists() else 1)
    state = folder.state
    if folder.fresh:
        if (proxy is not None or secure) and state["count"] > 1:
            raise Failure("--proxy and --secure are for one node", status=2)
        names = ("port", "controller", "proxied", "tls", "sasl")
        ports = processes.free_ports(len(names) * state["count"])
        state["ports"] = ports
        of_node = [ports[len(names) * n:] for n in range(state["count"])]
        state["nodes"] = [{"id": n + 1, **dict(zip(names, ports))} for n, ports in enumerate(of_node)]
        state["proxy"] = proxy
        state["secure"] = secure
    if scan is not None or folder.fresh:
        state["scan"] = 200 if scan is None else scan
    folder.save()
    nodes = {f"kafka-{node['id']}": node for node in state["nodes"]}
    if state["secure"]:
        made = certificates.make(path)
        (path / "identity.pem").write_text("".join(pathlib.Path(made[name]).read_text() for name in ("key", "cert")))
    for name, node in nodes.items():
        (path / f"{name}.properties").write_text(properties(node, state["nodes"], state["scan"], state["proxy"], state["secure"], path))
    format(folder, java, nodes)
    with folder.starting():
        for name in nodes:
            folder.launch(name, [
                java, f"-Xmx{heap}", *FLAGS, f"-Dlog4j2.configurationFile={here / 'log4j2.yaml'}", "-cp", f"{LIBS}/*",
                "kafka.Kafka", path / f"{name}.properties",
            ])

        def is_ready(name):
            log = folder.new_log(name)
            return (log is None or b"Kafka Server started" in log) and processes.answers(nodes[name]["port"])

        folder.wait("Kafka", lambda: all(map(is_ready, nodes)))
    where = {"bootstrap": ",".join(f"127.0.0.1:{node['port']}" for node in nodes.values())}
    if state["proxy"] is not None:
        where["proxied"] = f"127.0.0.1:{state['nodes'][0]['proxied']}"
    if state["secure"]:
        node = state["nodes"][0]
        where |= {"tls": f"127.0.0.1:{node['tls']}", "sasl": f"127.0.0.1:{node['sasl']}", "user": USER, "password": PASSWORD, **certificates.make(path)}
    folder.ready(nodes, **where)


def format(folder, java, nodes):
    """Makes the folders of data that are not there. One is there when its last step, the mark, is."""
    formats = {}
    scram = ["--add-scram", f'SCRAM-SHA-512=[name="{USER}",password="{PASSWORD}"]'] if folder.state["secure"] else []
    for name, node in nodes.items():
        mark = folder.path / f"data-{node['id']}.formatted"
        if mark.exists():
            continue
        shutil.rmtree(folder.path / f"data-{node['id']}", ignore_errors=True)
        formats[mark] = subprocess.Popen(
            [java, "-Xmx128m", *FLAGS, "-Dlog4j2.level=WARN", "-cp", f"{LIBS}/*", "kafka.tools.StorageTool", "format",
             "-t", CLUSTER_ID, "-c", folder.path / f"{name}.properties", *scram],
            cwd=folder.path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
    for mark, process in formats.items():
        told = process.communicate()[0]
        if process.returncode != 0:
            raise Failure(f"Kafka could not format {mark.with_suffix('')}", *("  " + line for line in told.splitlines()[-25:]))
        mark.touch()
