"""What goes wrong between us and a mail server, with the server's own words made harmless."""

import re
from collections.abc import Iterable

from radpost.errors import SERVER_PROTOCOL, RadpostError, Reason

_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\U0010ffff]+")
_LONGEST = 400
_SECRET_MIN = 4


def sanitise(text: bytes | str, secrets: Iterable[str] = (), *, longest: int = _LONGEST) -> str:
    """Return a server's words as one printable line of bounded length, without our own secrets.

    A server's text ends in logs and on screens: control characters (terminal escapes, line breaks that
    forge log lines) become a space, and a server that echoes a credential does not get it logged.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    for secret in secrets:
        if len(secret) >= _SECRET_MIN:
            text = text.replace(secret, "***")
    text = _UNPRINTABLE.sub(" ", text).strip()
    return text if len(text) <= longest else text[:longest] + "..."


class TransportError(RadpostError):
    """The dialogue with a mail server failed; ``reply`` holds what the server said, sanitised."""

    def __init__(self, reason: Reason, detail: str = "", *, reply: str = "") -> None:
        self.reply = sanitise(reply)
        said = f"the server said: {self.reply}" if self.reply else ""
        super().__init__(reason, "; ".join(part for part in (detail, said) if part))


class ConnectionLostError(TransportError):
    """The connection ended or fell silent in the middle of the dialogue."""

    def __init__(self, detail: str, *, reply: str = "", reason: Reason = SERVER_PROTOCOL) -> None:
        super().__init__(reason, detail, reply=reply)
