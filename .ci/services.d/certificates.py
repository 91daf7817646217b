"""Certificates for tests: an authority of the folder's own, and what it vouches for. Made by openssl, and good for a week."""

import secrets
import shutil
import subprocess

from common import Failure


def make(path):
    """Files of PEM: the authority's `ca`, and `cert` and `key` of whoever is at 127.0.0.1, server or client."""
    folder = path / "certificates"
    files = {name: str(folder / f"{name}.pem") for name in ("ca", "cert", "key")}
    if folder.exists():
        return files
    if not shutil.which("openssl"):
        raise Failure("openssl is needed to make certificates, and is not installed", "install it (Debian: apt-get install openssl)", status=3)
    new = folder.with_suffix(".tmp")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    (new / "extensions").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n")
    key = ["-newkey", "rsa:2048", "-nodes"]
    openssl(new, "req", "-x509", *key, "-days", "7", "-subj", f"/CN=floodmark tests {secrets.token_hex(4)}", "-keyout", "ca-key.pem", "-out", "ca.pem")
    openssl(new, "req", *key, "-subj", "/CN=floodmark", "-keyout", "key.pem", "-out", "request.pem")
    openssl(
        new, "x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-days", "7",
        "-extfile", "extensions", "-out", "cert.pem",
    )
    new.rename(folder)
    return files


def openssl(folder, *arguments):
    done = subprocess.run(["openssl", *arguments], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure("openssl could not make a certificate", *("  " + line for line in done.stderr.splitlines()[-10:]))
