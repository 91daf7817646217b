"""Processes that outlive the command: started into a folder, known by their pid files there, and stopped by them."""

import contextlib
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import time

from common import Failure, say

PATIENCE = 60.0
"""Seconds that a start may take: a full machine makes two seconds ten."""

STATE = "services.json"


class Folder:
    """A folder of one service: `state` is what must be the same at the next start, ports above all."""

    def __init__(self, path, kind, **wanted):
        self.path = path
        self.started = {}
        self.began = time.monotonic()
        self.fresh = not (path / STATE).exists()
        if not self.fresh:
            self.state = read_state(path)
            had = {name: self.state.get(name) for name in ("kind", *wanted)}
            want = {"kind": kind, **{name: value for name, value in wanted.items() if value is not None}}
            if any(had[name] != want[name] for name in want):
                raise Failure(f"the folder has another service than that. dir={path}", f"had: {had}", f"wanted: {want}")
            return
        path.mkdir(parents=True, exist_ok=True)
        # Where data goes may be there already, a filesystem of its own for one.
        if any(not entry.name.startswith("data-") for entry in path.iterdir()):
            raise Failure(f"the folder is neither empty nor one that was made here. dir={path}")
        self.state = {"kind": kind, **wanted}

    def save(self):
        new = self.path / f"{STATE}.tmp"
        new.write_text(json.dumps(self.state) + "\n")
        new.replace(self.path / STATE)

    def log(self, name):
        return self.path / f"{name}.log"

    def launch(self, name, command, environment=None):
        """Starts a process that is not running yet. Its log goes on behind what it has."""
        if running(self.path, name):
            return
        with open(self.log(name), "ab") as log:
            offset = log.tell()
            process = subprocess.Popen(
                command, cwd=self.path, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **(environment or {})},
            )
        self.started[name] = (process, offset)
        pid_file = self.path / f"{name}.pid"
        new = pid_file.with_suffix(".pid.tmp")
        new.write_text(f"{process.pid}\n")
        new.replace(pid_file)

    def new_log(self, name):
        """What a process has logged since it was started here; nothing of one that ran already."""
        if name not in self.started:
            return None
        with open(self.log(name), "rb") as log:
            log.seek(self.started[name][1])
            return log.read()

    def wait(self, what, is_so):
        """Until `is_so`, or until one of the started processes has ended, or until it took too long."""
        while not is_so():
            for name, (process, _) in self.started.items():
                if process.poll() is not None:
                    raise Failure(f"{name} ended with status {process.returncode} before it was ready", *self.tail(name))
            if time.monotonic() - self.began > PATIENCE:
                raise Failure(f"{what} was not ready in {PATIENCE:.0f} seconds", *(line for name in self.started for line in self.tail(name)))
            time.sleep(0.02)

    def tail(self, name):
        lines = self.log(name).read_text(errors="replace").splitlines()[-25:]
        return [f"the end of {self.log(name)}:", *("  " + line for line in lines)]

    @contextlib.contextmanager
    def starting(self):
        """What was started does not stay when the start fails."""
        try:
            yield
        except BaseException:
            for process, _ in self.started.values():
                process.kill()
            for name, (process, _) in self.started.items():
                process.wait()
                (self.path / f"{name}.pid").unlink(missing_ok=True)
            raise

    def pids(self, names):
        return [int((self.path / f"{name}.pid").read_text()) for name in names]

    def ready(self, names, **where):
        print(json.dumps({**where, "pids": self.pids(names)}), flush=True)


def read_state(path):
    try:
        return json.loads((path / STATE).read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise Failure(f"{path / STATE} is damaged: {error}", "remove the folder") from None


_held = []


def free_ports(count, also=()):
    """Ports that nobody listens on, nor on those that lie `also` above them.

    Below the range that the system gives to outgoing connections, so that a server finds its port free when it is started again.
    Each is held by a name of ours until this command ends, so that two starts at the same time take different ones."""
    ports = []
    for port in random.sample(range(12000, 22000), 2000):
        if all(hold(port + more) for more in (0, *also)):
            ports.append(port)
        if len(ports) == count:
            return ports
    raise Failure("no free ports were found between 12000 and 22000")


def hold(port):
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0floodmark-port-{port}")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except OSError:
        name.close()
        return False
    _held.append(name)
    return True


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def command_line(pid):
    """What a process was started with; nothing when it is gone, or ended and not yet waited for."""
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def ours(path, pid):
    """Whether the process is one of the folder: a pid is given anew one day, and then to a stranger."""
    line = command_line(pid)
    ports = re.findall(r"127\.0\.0\.1:(\d+)(?!\S)", line)
    return f"{path}/" in line or any(int(port) in read_state(path).get("ports", []) for port in ports)


def running(path, name):
    try:
        pid = int((path / f"{name}.pid").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return pid if ours(path, pid) else None


def stop(path):
    """TERM to all at once, and KILL to who has not ended in five seconds: nodes of a quorum wait for each other."""
    files = sorted(path.glob("*.pid")) + sorted(path.glob("*/*.pid"))
    alive = {file: pid for file in files if (pid := running(file.parent, file.stem))}
    count = len(alive)

    def send(what):
        for pid in alive.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, what)

    def wait(seconds):
        until = time.monotonic() + seconds
        while alive and time.monotonic() < until:
            time.sleep(0.02)
            for file in [file for file, pid in alive.items() if not ours(file.parent, pid)]:
                del alive[file]

    # One that is halted would not hear of it.
    send(signal.SIGCONT)
    send(signal.SIGTERM)
    wait(5)
    killed = len(alive)
    send(signal.SIGKILL)
    wait(5)
    for file in files:
        if file not in alive:
            file.unlink(missing_ok=True)
    if alive:
        raise Failure(f"processes do not end: {sorted(alive.values())}")
    say(f"stopped {count} processes" + (f", {killed} of them by KILL" if killed else ""))
