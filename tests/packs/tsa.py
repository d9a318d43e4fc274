"""A time-stamp authority of one's own: ``openssl ts`` behind HTTP, for tests.

::

    with serving(Authority(folder)) as url:
        reply = stamp(data, url)
    check_stamp(reply, data, authority.root_pem)
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CONFIG = """\
[tsa]
default_tsa = one
[one]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""  # 'certs' is left out: openssl then puts the signer's certificate in, once

DAY = timedelta(days=1)


@dataclass
class Authority:
    """Root and signing certificate in a folder, and how many requests came."""

    folder: Path
    name: str = "Test Time"
    valid: tuple[timedelta, timedelta] = (-DAY, DAY)
    """From when to when the signing certificate is valid, from now on."""

    damage: Callable[[bytes], bytes] = bytes
    """What becomes of each reply on its way."""

    status: int = 200
    delay: float = 0.0
    """Seconds before each answer."""

    asked: list[bytes] = field(default_factory=list)
    """Requests, in their order."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        now = datetime.now(UTC)
        root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        root_name = _name(f"{self.name} Root")
        root = (
            _certificate(root_name, root_name, root_key, now - 9 * DAY, now + 9 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(root_key, hashes.SHA256())
        )
        start, end = self.valid
        leaf = (
            _certificate(_name(self.name), root_name, key, now + start, now + end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True
            )
            .sign(root_key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        self.root_pem = root.public_bytes(pem)
        (self.folder / "root.pem").write_bytes(self.root_pem)
        (self.folder / "tsa.pem").write_bytes(leaf.public_bytes(pem))
        secret = key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self.folder / "tsa.key").write_bytes(secret)
        (self.folder / "serial").write_text("01\n")
        (self.folder / "tsa.cnf").write_text(CONFIG.format(folder=self.folder))

    def reply(self, request: bytes) -> bytes:
        """What ``openssl ts`` answers, granted or not."""
        (self.folder / "query.tsq").write_bytes(request)
        files = ["-queryfile", self.folder / "query.tsq", "-out", self.folder / "reply.tsr"]
        command = ["openssl", "ts", "-reply", "-config", self.folder / "tsa.cnf", *files]
        subprocess.run(command, check=True, capture_output=True)
        return (self.folder / "reply.tsr").read_bytes()


@contextlib.contextmanager
def serving(authority: Authority) -> Iterator[str]:
    """The authority's address while it can be asked."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                authority.asked.append(request)
                body = authority.damage(authority.reply(request))
            threading.Event().wait(authority.delay)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.send_response(authority.status)
                self.send_header("Content-Type", "application/timestamp-reply")
                if authority.status in (301, 302):
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/tsr"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey,
    start: datetime, end: datetime,
) -> x509.CertificateBuilder:  # fmt: skip
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )
