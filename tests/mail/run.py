#!/usr/bin/env python3
"""Mail of a real gateway through real SMTP servers: TLS and login, a server that is away, a rejected recipient.

Settings change while the gateway runs, and each change is in effect for the next mail. Prints a line for every
law it saw kept, and stops at the first that was not.
"""

import argparse
import contextlib
import json
import logging
import pathlib
import signal
import sys
import tempfile
import time
import traceback
import warnings

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "real"))

from gateway import CLIENT_KEY, Gateway  # noqa: E402
from processes import Failure, curl, free_port, wait_until  # noqa: E402
from servers import (  # noqa: E402
    IMPLICIT, LOGIN, PASSWORD, PLAIN, REJECTED, STARTTLS, Authority, Mailbox, serve,
)

ALL_SECONDS_MAX = 240
ARRIVES_SECONDS_MAX = 30
# A mail that was to come twice would come with the next look at the queue.
SETTLES_SECONDS = 3

laws_kept = 0


@contextlib.contextmanager
def law(text: str):
    global laws_kept
    try:
        yield
    except Exception:
        print(f"FAIL  {text}", flush=True)
        raise
    laws_kept += 1
    print(f"ok    {text}", flush=True)


def expect(holds: bool, problem: str) -> None:
    if not holds:
        raise Failure(problem)


class MailingGateway(Gateway):
    """A gateway that trusts the test's own authority."""

    def __init__(self, program: pathlib.Path, folder: pathlib.Path, authority: pathlib.Path) -> None:
        super().__init__("mailing", program, folder)
        self._env |= {"SSL_CERT_FILE": str(authority), "RUST_LOG": "info,proxyxai_control=debug"}
        self.client_keys: list[str] = []

    def settings(self, **values: object) -> dict:
        """Stores settings and returns all of them."""
        named = {name: str(value) for name, value in values.items()}
        answer = self.grpc("proxyxai.v1.Settings/UpdateSettings", data={"set": named})
        return json.loads(answer)["settings"]

    def account(self, name: str, address: str) -> None:
        body = {"Name": name, "Email": address, "CreditGranted": 10}
        self.client_keys.append(self.call("POST", "/x-users", body)["User"]["SecretKey"])

    def said(self, text: str) -> int:
        return self.process.text().count(text)


class Story:
    def __init__(self, program: pathlib.Path, folder: pathlib.Path) -> None:
        self.authority, self.stranger = Authority(), Authority()
        trusted = folder / "authority.pem"
        self.authority.write(trusted)
        self.gateway = MailingGateway(program, folder, trusted)
        self.box = Mailbox()
        self.port = free_port()
        self.server = None

    def up(self, kind: str, authority: Authority | None = None) -> None:
        self.down()
        self.server = serve(kind, self.port, self.box, authority or self.authority)

    def down(self) -> None:
        if self.server is not None:
            self.server.stop()
            self.server = None

    def quiet(self) -> None:
        """Waits until nothing has come for a while."""

        def nothing_new() -> bool:
            before = len(self.box.all())
            settle()
            return before == len(self.box.all())

        wait_until("no mail is under way", ARRIVES_SECONDS_MAX, nothing_new)

    def arrives_once(self, address: str):
        wait_until(f"a mail to {address}", ARRIVES_SECONDS_MAX, lambda: bool(self.box.to(address)))
        settle()
        mails = self.box.to(address)
        expect(len(mails) == 1, f"{len(mails)} mails to {address}")
        return mails[0]


def settle() -> None:
    time.sleep(SETTLES_SECONDS)


def part(mail, kind: str) -> str:
    return mail.get_body((kind,)).get_content()


def off(story: Story) -> None:
    with law("nothing is sent before there is a server, and nothing later of what happened before"):
        story.gateway.account("early", "early@example.com")
        story.up(PLAIN)


def plain(story: Story) -> None:
    with law("a mail goes to a plain server as soon as the settings name one"):
        shown = story.gateway.settings(
            EMAIL_SMTP="localhost", EMAIL_PORT=story.port, EMAIL_TLS="false", EMAIL_SENDER="Ünser XAI<xai@gateway.example>"
        )
        expect(shown["EMAIL_TLS"] == "false", f"settings are {shown}")
        story.gateway.account("plainly", "plain@example.com")
        mail = story.arrives_once("plain@example.com")
        expect(str(mail["From"]) == "Ünser XAI <xai@gateway.example>", f"from {mail['From']}")
        expect(str(mail["To"]) == "plain@example.com", f"to {mail['To']}")
        expect(not story.box.to("early@example.com"), "the early account was told later")
    with law("a mail has a text and an HTML part with the footer"):
        for kind in ("plain", "html"):
            expect("Powered by ProxyXAI" in part(mail, kind), f"no footer in {kind}")
        expect("<p>" in part(mail, "html"), "the HTML part has no HTML")


def starttls(story: Story) -> None:
    with law("STARTTLS and a login are used, and a subject may be in any script"):
        story.up(STARTTLS)
        before = story.box.unencrypted
        shown = story.gateway.settings(EMAIL_TLS="true", EMAIL_AUTH=LOGIN, EMAIL_PASS=PASSWORD)
        expect(shown["EMAIL_PASS"] == "***", "the password is shown")
        story.gateway.account("Zoë 名前 😀", "zoe@example.com")
        mail = story.arrives_once("zoe@example.com")
        expect(str(mail["Subject"]) == "Your account Zoë 名前 😀", f"subject {mail['Subject']}")
        expect(story.box.unencrypted == before, "the mail came without TLS")


def wrong_password(story: Story) -> None:
    with law("a refused login loses no mail: with the right password it goes out"):
        story.gateway.settings(EMAIL_PASS="wrong")
        story.gateway.account("waiting", "waiting@example.com")
        wait_until("a refused login", ARRIVES_SECONDS_MAX, lambda: story.box.refused_logins > 0)
        settle()
        expect(not story.box.to("waiting@example.com"), "it was sent without a login")
        story.gateway.settings(EMAIL_PASS=PASSWORD)
        story.arrives_once("waiting@example.com")


def away(story: Story) -> None:
    with law("mails wait while the server is away, and go once it is back, each once"):
        story.down()
        gone = story.gateway.said("mail cannot be sent")
        for number in range(3):
            story.gateway.account(f"patient{number}", f"patient{number}@example.com")
        wait_until("the log says so", ARRIVES_SECONDS_MAX, lambda: story.gateway.said("mail cannot be sent") > gone)
        settle()
        story.up(STARTTLS)
        for number in range(3):
            story.arrives_once(f"patient{number}@example.com")
        expect(story.gateway.said("mail cannot be sent") == gone + 1, "the log says it more than once")
        expect(story.gateway.said("mail is sent again") > 0, "the log does not say that mail goes again")


def rejected(story: Story) -> None:
    with law("a rejected recipient is given up at once, and holds up nobody"):
        story.gateway.account("rejected", REJECTED)
        story.gateway.account("accepted", "accepted@example.com")
        story.arrives_once("accepted@example.com")
        given_up = "a mail could not be sent and is given up"
        wait_until("the log says so", ARRIVES_SECONDS_MAX, lambda: story.gateway.said(given_up) == 1)
        settle()
        expect(story.box.rejected == 1, f"the recipient was tried {story.box.rejected} times")
        expect(story.gateway.said(given_up) == 1, "the log says it more than once")


def implicit(story: Story) -> None:
    with law("TLS from the first byte works too"):
        story.up(IMPLICIT)
        story.gateway.settings(EMAIL_TLS="implicit")
        story.gateway.account("implicit", "implicit@example.com")
        story.arrives_once("implicit@example.com")


def stranger(story: Story) -> None:
    with law("a server whose certificate nobody vouches for gets neither mail nor password"):
        story.up(STARTTLS, story.stranger)
        story.gateway.settings(EMAIL_TLS="starttls")
        gone, logins = story.gateway.said("mail cannot be sent"), story.box.refused_logins
        story.gateway.account("careful", "careful@example.com")
        wait_until("the log says so", ARRIVES_SECONDS_MAX, lambda: story.gateway.said("mail cannot be sent") > gone)
        expect(not story.box.to("careful@example.com"), "the mail was sent")
        expect(story.box.refused_logins == logins, "a login was tried")
        story.up(STARTTLS)
        story.arrives_once("careful@example.com")


def news(story: Story) -> None:
    with law("news are written to every reader"):
        body = {"title": "Maintenance – ночью", "content": "Tonight.\n\n<b>Two</b> hours."}
        story.gateway.call("POST", "/x-news", body)
        for address in ("plain@example.com", "zoe@example.com"):
            wait_until("the news", ARRIVES_SECONDS_MAX, lambda to=address: len(story.box.to(to)) == 2)
            mail = story.box.to(address)[1]
            expect(str(mail["Subject"]) == body["title"], f"subject {mail['Subject']}")
            expect("&#60;b&#62;Two" in part(mail, "html"), "HTML of the news is not escaped")
        story.quiet()
    with law("a title that would add a header is refused"):
        forged = {"title": "x\r\nBcc: victim@example.com", "content": "c"}
        status, _ = curl("POST", f"{story.gateway.url}/x-news", story.gateway.root_key, forged)
        expect(status == 400, f"it was answered {status}")


def restart(story: Story) -> None:
    with law("what was queued before a restart is sent after it, and what was sent is not sent again"):
        story.down()
        story.gateway.account("restarted", "restarted@example.com")
        expect(story.gateway.stop() == 0, "the gateway did not end well")
        before = len(story.box.all())
        story.up(STARTTLS)
        story.gateway.start()
        story.arrives_once("restarted@example.com")
        expect(len(story.box.all()) == before + 1, "more than that mail was sent")


def secrets(story: Story) -> None:
    with law("no mail and no log holds a client key or the password"):
        mails = "\n".join(part(mail, kind) for mail in story.box.all() for kind in ("plain", "html"))
        log = story.gateway.process.text()
        expect(len(story.gateway.client_keys) > 5, "no keys to look for")
        for key in story.gateway.client_keys:
            expect(key not in mails and key not in log, f"{key[:10]}… is in a mail or the log")
        expect(not CLIENT_KEY.search(mails), "a mail holds something like a client key")
        expect(PASSWORD not in mails and PASSWORD not in log, "the password is in a mail or the log")


def once(story: Story) -> None:
    with law("no mail came twice"):
        ids = [str(mail["Message-ID"]) for mail in story.box.all()]
        expect(len(ids) > 10 and len(set(ids)) == len(ids), f"Message-IDs are {sorted(ids)}")


def tell(program: pathlib.Path) -> int:
    with tempfile.TemporaryDirectory(prefix="proxyxai-mail-") as name, contextlib.ExitStack() as stack:
        story = Story(program, pathlib.Path(name))
        stack.callback(story.gateway.process.destroy)
        stack.callback(story.down)
        try:
            story.gateway.start()
            story.gateway.read_root_key()
            for step in (off, plain, starttls, wrong_password, away, rejected, implicit, stranger, news, restart, secrets, once):
                step(story)
        except Exception as problem:
            if isinstance(problem, Failure):
                print(f"      {problem}")
            else:
                traceback.print_exc(file=sys.stdout)
            print(f"--- end of the gateway's log\n{story.gateway.process.tail()}", flush=True)
            return 1
    print(f"{laws_kept} laws kept", flush=True)
    return 0


def main() -> int:
    about = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    about.add_argument("--gateway", type=pathlib.Path, default=REPOSITORY / "target/debug/proxyxai")
    options = about.parse_args()

    def on_signal(number: int, _frame: object) -> None:
        # Unwinds the stack, which ends everything that was started.
        raise SystemExit(128 + number)

    def on_alarm(*_: object) -> None:
        raise Failure(f"the test took longer than {ALL_SECONDS_MAX} s")

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(ALL_SECONDS_MAX)
    # Refused handshakes and logins are what this test is about; the library prints a trace for each.
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    return tell(options.gateway.resolve())


if __name__ == "__main__":
    sys.exit(main())
