"""What every service needs: failures that say what to do, a place for what is fetched, and a Java that is new enough."""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

here = pathlib.Path(__file__).resolve().parent
runtime = here.parent.parent / ".runtime"


class Failure(Exception):
    def __init__(self, *lines, status=1):
        super().__init__(*lines)
        self.lines = lines
        self.status = status


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(command, **more):
    """Runs a tool whose output is for the user; false when it failed."""
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, **more).returncode == 0


def sha256(path):
    sum = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            sum.update(block)
    return sum.hexdigest()


@contextlib.contextmanager
def alone(name):
    """One at a time; who waited looks again whether there is still something to do."""
    runtime.mkdir(parents=True, exist_ok=True)
    with open(runtime / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def replacing(folder):
    """A folder to build in. It becomes `folder` by a rename at the end, or goes away when something failed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    # What an interrupted run has left.
    for left in folder.parent.glob(f".{folder.name}-*"):
        shutil.rmtree(left, ignore_errors=True)
    work = pathlib.Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        new = work / "new"
        new.mkdir()
        yield new
        if folder.exists():
            folder.rename(work / "old")
        new.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def maven(*goal):
    if not shutil.which("mvn"):
        raise Failure("Maven is needed to fetch from Maven Central, and is not installed", "install it (Debian: apt-get install maven)")
    if not run(["mvn", "--quiet", "--batch-mode", "--strict-checksums", "-Dstyle.color=never", "--file", str(here / "pom.xml"), *goal], cwd=here):
        raise Failure("what is needed did not come from Maven Central; see above", "the same command tries again")


def version_of(java):
    """The feature version (17, 25) of a `java`, or nothing. Its home has a file that says so without starting it."""
    with contextlib.suppress(OSError):
        release = (java.resolve().parent.parent / "release").read_text()
        if found := re.search(r'^JAVA_VERSION="(\d+)', release, re.MULTILINE):
            return int(found[1])
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        told = subprocess.run([java, "-version"], stderr=subprocess.PIPE, text=True, timeout=20).stderr
        if found := re.search(r'version "(\d+)', told):
            return int(found[1])
    return None


def find_java(least, what, status=3):
    """The first `java` that is new enough: JAVA_HOME's, the one on PATH, then those that are installed in the usual places."""
    places = []
    if home := os.environ.get("JAVA_HOME"):
        places.append(pathlib.Path(home, "bin/java"))
    if on_path := shutil.which("java"):
        places.append(pathlib.Path(on_path))
    for pattern in ("usr/lib/jvm/*/bin/java", "opt/*/bin/java"):
        places += sorted(pathlib.Path("/").glob(pattern))
    seen = set()
    for java in places:
        version = version_of(java) if os.access(java, os.X_OK) else None
        if version and version >= least:
            return java
        if version:
            seen.add(version)
    found = f"only Java {', '.join(map(str, sorted(seen)))} was found" if seen else "no Java was found"
    package = "openjdk-17-jre-headless" if least <= 17 else f"openjdk-{least}-jre-headless or any JDK of {least} or newer under /usr/lib/jvm or /opt"
    raise Failure(f"{what} needs Java {least} or newer, and {found}", f"install it (Debian: {package}), or set JAVA_HOME", status=status)
