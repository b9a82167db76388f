"""The content of a mail on the receiving side: DATA or BDAT, its bounds, and what follows its end.

RFC 5321 3.3, RFC 3030 2. What is said before and after stands in `smtp_session`.
"""

from dataclasses import replace

from radpost.transport.smtp_actions import (
    SEQUENCE,
    SYNTAX,
    TOO_BIG,
    Abort,
    Begin,
    Commit,
    Content,
    OpenMail,
    Protocol,
    SessionConfig,
)
from radpost.transport.smtp_content import ChunkDecoder, DotDecoder
from radpost.transport.smtp_core import Phase, SessionCore
from radpost.transport.smtp_grammar import Envelope, Reply, SyntaxRefusedError, parse_chunk


class Transaction(SessionCore):
    """The mail that is open, from MAIL to its end."""

    def __init__(self, config: SessionConfig) -> None:
        super().__init__(config)
        self._mail: OpenMail | None = None
        self._dots = DotDecoder()
        self._chunk_left = 0
        self._chunk_size = 0
        self._chunk_last = False

    @property
    def in_content(self) -> bool:
        """True while the content of a mail is coming."""
        return self._phase in {Phase.DATA, Phase.CHUNK}

    def sink_failed(self, refusal: Reply) -> None:
        """Say that content can't be written any more: the rest is read and thrown away, then refused."""
        if self._mail is not None:
            self._fail(self._mail, refusal)

    def _drop_mail(self) -> None:
        mail, self._mail = self._mail, None
        if mail is not None and mail.begun and mail.failed is None:
            self._actions.append(Abort())

    def _fail(self, mail: OpenMail, refusal: Reply) -> None:
        if mail.failed is None:
            mail.failed = refusal
            if mail.begun:
                self._actions.append(Abort())

    def take_data(self, argument: str) -> None:
        """Answer DATA: ask whether the content can be taken, then take it line by line."""
        if argument.strip():
            raise SyntaxRefusedError("DATA has no parameters")
        mail = self._mail
        if mail is None or not mail.recipients or mail.chunks is not None or mail.failed is not None:
            self._refuse(SEQUENCE)
            return

        def answered(refusal: Reply | None) -> None:
            if refusal is not None:
                self._mail = None
                self._send(refusal)
                return
            mail.begun = True
            self._dots = DotDecoder()
            self._phase = Phase.DATA
            self._send(Reply(354, "", "End data with <CR><LF>.<CR><LF>"))

        self._ask(Begin(self._envelope(mail)), answered)

    def _advance_content(self) -> bool:
        return self._advance_data() if self._phase is Phase.DATA else self._advance_chunk()

    def _advance_data(self) -> bool:
        if not self._pending:
            return False
        mail = self._mail
        if mail is None:  # the driver's refusal never leaves the phase open
            raise RuntimeError("content without a mail")
        piece = self._dots.feed(self._pending)
        self._pending = piece.rest or b""
        self._take_content(mail, piece.content)
        if piece.rest is not None and self._phase is Phase.DATA:
            self._phase = Phase.COMMAND
            self._finish(mail)
        return True

    def _take_content(self, mail: OpenMail, content: bytes) -> None:
        limit = self.config.limits.message_size
        mail.received += len(content)
        if mail.received > limit:  # RFC 1870 6.3
            self._fail(mail, TOO_BIG)
            if mail.received > 2 * limit + 1_000_000:
                self._end(TOO_BIG)
        if content and mail.failed is None:
            self._actions.append(Content(content))

    def take_chunk(self, argument: str) -> None:
        """Answer BDAT: its chunk follows whatever we think of it."""
        try:
            size, last = parse_chunk(argument)
        except SyntaxRefusedError as error:
            # how much of what follows is content is unknown: there is no way back to commands
            self._end(replace(SYNTAX, text=f"Syntax: {error}, closing connection"))
            return
        self._chunk_left = self._chunk_size = size
        self._chunk_last = last
        mail = self._mail
        if size > 2 * self.config.limits.message_size + 1_000_000:
            self._end(TOO_BIG)
            return
        if mail is None or not mail.recipients or mail.failed is not None or mail.chunks is not None:
            # a further chunk; or one that is read in any case (RFC 3030 2) and then refused
            self._phase = Phase.CHUNK
            return
        mail.chunks = ChunkDecoder()

        def answered(refusal: Reply | None) -> None:
            self._phase = Phase.CHUNK
            if refusal is None:
                mail.begun = True
            else:
                mail.failed = refusal

        self._ask(Begin(self._envelope(mail)), answered)

    def _advance_chunk(self) -> bool:
        mail = self._mail
        chunks = mail.chunks if mail is not None and mail.recipients else None
        if self._chunk_left:
            if not self._pending:
                return False
            data = self._pending[: self._chunk_left]
            self._pending = self._pending[self._chunk_left :]
            self._chunk_left -= len(data)
            if mail is not None and chunks is not None and mail.failed is None:
                self._take_content(mail, chunks.feed(data))
            return True
        self._phase = Phase.COMMAND
        if mail is None or chunks is None:
            self._refuse(SEQUENCE)
        elif self._chunk_last:
            if mail.failed is None:
                chunks.finish()
            self._finish(mail)
        elif mail.failed is not None:
            # the rest of this mail is refused chunk by chunk until RSET
            self._send(mail.failed)
        else:
            self._send(Reply(250, "2.0.0", f"{self._chunk_size} octets received"))
        return True

    def _finish(self, mail: OpenMail) -> None:
        """All is here: commit, then reply (RFC 5321 6.1), once or once per recipient (RFC 2033 4.2)."""
        self._mail = None
        replies = len(mail.recipients) if self.config.protocol is Protocol.LMTP else 1
        if mail.failed is not None:
            for _ in range(replies):
                self._send(mail.failed)
            return

        def answered(refusal: Reply | None) -> None:
            for _ in range(replies):
                self._send(refusal or Reply(250, "2.0.0", "Mail is stored"))
            if refusal is None:
                self._commands = 0

        self._ask(Commit(), answered)

    def _envelope(self, mail: OpenMail) -> Envelope:
        raise NotImplementedError
