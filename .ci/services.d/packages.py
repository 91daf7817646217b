"""Debian's packages, unpacked and not installed: commands with the libraries that they bring, in a folder of ours."""

import os
import re
import shutil
import subprocess

from common import Failure, run, say


def unpack(new, names, commands, elsewhere, backports=False):
    """Fetches packages, and lays their commands into `new`/bin. `commands`: each name, and the file of usr/bin that it is."""
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise Failure(f"{names[0]} is fetched as packages of Debian, and {tool} is not there", elsewhere)
    packages, tree = new / "packages", new / "tree"
    packages.mkdir()
    options = backports_of(new / "apt") if backports and not is_known(names[0]) else ()
    wanted, known = list(names), set()
    while wanted:
        known.update(wanted)
        before = set(packages.glob("*.deb"))
        download(packages, [name for name in wanted if name in names], options, elsewhere)
        download(packages, [name for name in wanted if name not in names], (), elsewhere)
        needed = set()
        for package in set(packages.glob("*.deb")) - before:
            subprocess.run(["dpkg-deb", "-x", package, tree], check=True)
            needed |= libraries(package)
        wanted = sorted(name for name in needed - known if not is_installed(name))
    shutil.rmtree(packages)
    shutil.rmtree(new / "apt", ignore_errors=True)

    # The loader finds what came along; the commands stay usable by hand.
    (new / "bin").mkdir()
    (new / "programs").mkdir()
    (new / "lib").mkdir()
    for library in tree.rglob("*.so*"):
        if library.is_file():
            shutil.copy(library, new / "lib" / library.name)
    for name, file in commands.items():
        source = tree / "usr/bin" / file
        if not source.exists():
            raise Failure(f"Debian's packages have no {source.relative_to(tree)}", f"this is for Debian 12; {elsewhere}")
        shutil.copy(source, new / "programs" / name)
        command = new / "bin" / name
        command.write_text(
            "#!/bin/sh\n"
            'home=$(dirname "$(readlink -f "$0")")/..\n'
            'LD_LIBRARY_PATH="$home/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "$home/programs/' + name + '" "$@"\n'
        )
        command.chmod(0o755)
    shutil.rmtree(tree)


def download(folder, names, options, elsewhere):
    if not names:
        return
    command = ["apt-get", "--quiet", "--quiet", *as_root(), *options]
    if run([*command, "download", *names], cwd=folder):
        return
    say("Debian's lists of packages may be missing or old; fetching them")
    if not (run([*command, "update"]) and run([*command, "download", *names], cwd=folder)):
        raise Failure(f"{' and '.join(names)} did not come from Debian; see above", f"run apt-get update as root and try again, {elsewhere}")


def as_root():
    # Or it warns that its own user may not write here.
    return ["--option", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []


def backports_of(folder):
    """Options that let apt-get see the backports of the Debian that this is, from where its own packages come, in lists of ours."""
    told = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages", "Label: Debian"],
        capture_output=True, text=True,
    )
    found = [line.split() for line in told.stdout.splitlines() if len(line.split()) == 2 and "-" not in line.split()[1]]
    if not found:
        raise Failure("apt-get does not say where Debian's packages come from", "run apt-get update as root and try again")
    repository, release = found[0]
    (folder / "lists/partial").mkdir(parents=True)
    (folder / "sources.list").write_text(f"deb {repository} {release}-backports main\n")
    options = {
        "Dir::Etc::sourcelist": folder / "sources.list", "Dir::Etc::sourceparts": "/dev/null", "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder,
    }
    given = [part for name, value in options.items() for part in ("--option", f"{name}={value}")]
    if not run(["apt-get", "--quiet", "--quiet", *as_root(), *given, "update"]):
        raise Failure(f"the lists of {release}-backports did not come from Debian; see above")
    return given


def libraries(package):
    """The libraries that a package needs, by the names of their packages, the first of each choice."""
    depends = subprocess.run(["dpkg-deb", "-f", package, "Depends"], check=True, stdout=subprocess.PIPE, text=True).stdout
    names = (re.split(r"[ (|:]", choice.strip())[0] for choice in depends.split(","))
    return {name for name in names if re.match(r"lib|lua", name) and name != "libc6"}


def is_known(name):
    told = subprocess.run(["apt-cache", "show", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return told.returncode == 0


def is_installed(name):
    told = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Abbrev}", name], capture_output=True, text=True)
    return told.stdout.startswith("ii")
