"""Real SMTP servers (aiosmtpd) that keep what they are sent: plain, with STARTTLS, with TLS from the first byte."""

import email
import email.policy
import ssl
import threading
from email.message import EmailMessage

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

HOST = "127.0.0.1"
LOGIN, PASSWORD = "xai@gateway.example", "hunter2-planted-password"
REJECTED = "reject@example.com"
PLAIN, STARTTLS, IMPLICIT = "plain", "starttls", "implicit"


class Mailbox:
    """What arrived, and the handler that takes it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mails: list[EmailMessage] = []
        self.refused_logins = 0
        self.rejected = 0
        self.unencrypted = 0

    async def handle_RCPT(self, _server, session, envelope, address, _options) -> str:
        if address == REJECTED:
            with self._lock:
                self.rejected += 1
            return "550 5.1.1 there is nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server, session, envelope) -> str:
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        mail["X-Envelope-To"] = ",".join(envelope.rcpt_tos)
        with self._lock:
            self._mails.append(mail)
            self.unencrypted += session.ssl is None
        return "250 OK"

    def authenticate(self, _server, _session, _envelope, _mechanism, data) -> AuthResult:
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (LOGIN.encode(), PASSWORD.encode())
        with self._lock:
            self.refused_logins += not good
        return AuthResult(success=good, handled=False)

    def to(self, address: str) -> list[EmailMessage]:
        with self._lock:
            return [mail for mail in self._mails if mail["X-Envelope-To"] == address]

    def all(self) -> list[EmailMessage]:
        with self._lock:
            return list(self._mails)


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    def write(self, path) -> None:
        self._ca.cert_pem.write_to_path(path)

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert("localhost").configure_cert(context)
        return context


def serve(kind: str, port: int, box: Mailbox, authority: Authority) -> Controller:
    """Starts a server on a port; the caller stops it."""
    options: dict = {}
    if kind == STARTTLS:
        options = {"tls_context": authority.context(), "require_starttls": True}
        options |= {"authenticator": box.authenticate, "auth_required": True}
    elif kind == IMPLICIT:
        # The library does not count TLS from the first byte as encryption of the login.
        options = {"ssl_context": authority.context(), "auth_require_tls": False}
        options |= {"authenticator": box.authenticate, "auth_required": True}
    # The name is in the certificate; the library connects to it once to see that it listens.
    controller = Controller(box, hostname=HOST, port=port, ready_timeout=10, **options)
    controller.start()
    return controller
