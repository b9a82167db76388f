"""What GnuPG reports on its status descriptor, read as values (GnuPG doc/DETAILS).

The lines may hold binary (notation data), so they are read as Latin-1. The exit status alone decides
nothing: an unknown signer gives 2, too.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from radpost.errors import (
    ENGINE_FAULT,
    LEGACY_ALGORITHM,
    NO_INTEGRITY,
    NO_SECRET_KEY,
    OPENPGP_MALFORMED,
    PASSWORD_ENCRYPTED,
    TAMPERED,
    RadpostError,
)
from radpost.openpgp.material import CIPHERS, DIGESTS, LEGACY_CIPHERS, WEAK_DIGESTS
from radpost.openpgp.values import Signature, addressees
from radpost.words import Verdict

_PREFIX = "[GNUPG:] "
_NO_PUBKEY_RC = "9"
_UNSUPPORTED_RCS = frozenset({"4", "5"})
"""An algorithm of key or hash that GnuPG does not know: nothing speaks for or against the signature."""


class TransientFaultError(RadpostError):
    """A fault of GnuPG that is worth another try at once."""


@dataclass(slots=True)
class Report:
    """The facts of one run."""

    lines: list[tuple[str, list[str]]] = field(default_factory=list)

    def has(self, keyword: str) -> bool:
        """Whether the keyword was reported."""
        return any(word == keyword for word, _ in self.lines)

    def all(self, keyword: str) -> list[list[str]]:
        """Return the arguments of every line with this keyword."""
        return [arguments for word, arguments in self.lines if word == keyword]

    def first(self, keyword: str) -> list[str] | None:
        """Return the arguments of the first line with this keyword."""
        return next((arguments for word, arguments in self.lines if word == keyword), None)


def read(data: bytes) -> Report:
    """Parse the output of ``--status-fd``."""
    report = Report()
    for line in data.decode("latin-1").split("\n"):
        if line.startswith(_PREFIX):
            word, *arguments = line[len(_PREFIX) :].split(" ")
            report.lines.append((word, arguments))
    return report


@dataclass(frozen=True, slots=True)
class Decrypted:
    """What a successful decryption showed."""

    integrity: str
    encrypted: bool
    cipher: str
    warnings: tuple[str, ...]


def judge(report: Report, owns: Callable[[str], bool], produced: int, *, legacy: bool) -> Decrypted:
    """Decide whether the ``produced`` octets may be released; raise the reason if not (DESIGN 6)."""
    info = report.first("DECRYPTION_INFO")
    texts = len(report.all("PLAINTEXT"))
    if report.has("BADMDC"):
        raise RadpostError(TAMPERED)
    if texts > 1 or len(report.all("DECRYPTION_INFO")) > 1:
        raise RadpostError(OPENPGP_MALFORMED, "more than one plaintext")
    if texts:
        _check_grammar(report, produced)
    if info is not None:
        return _judge_decrypted(report, info, texts, legacy=legacy)
    recipients = report.all("ENC_TO")
    if recipients:
        # a key of ours is named and still "no secret key": that is the agent's memory, not the truth
        if any(owns(arguments[0].upper()) for arguments in recipients):
            raise TransientFaultError(ENGINE_FAULT, "GnuPG did not use the secret key")
        raise RadpostError(NO_SECRET_KEY, addressees([arguments[0].upper() for arguments in recipients]))
    if report.has("NEED_PASSPHRASE_SYM"):
        raise RadpostError(PASSWORD_ENCRYPTED)
    if texts == 1:
        return Decrypted("none", encrypted=False, cipher="", warnings=())
    raise RadpostError(OPENPGP_MALFORMED, "GnuPG found no message")


def _check_grammar(report: Report, produced: int) -> None:
    """Refuse what GnuPG only complains about: second plaintexts, packets that end early, junk behind."""
    errors = report.all("ERROR")
    if any(words[0].startswith(("proc_pkt.", "decryption.")) for words in errors if words):
        raise RadpostError(OPENPGP_MALFORMED, "GnuPG met data that do not belong there")
    if ["3"] in report.all("NODATA"):
        raise RadpostError(OPENPGP_MALFORMED, "an invalid packet")
    kind, length = report.first("PLAINTEXT"), report.first("PLAINTEXT_LENGTH")
    # other kinds are text, whose line ends GnuPG converts
    if kind and length and kind[0] == "62" and int(length[0]) != produced:
        raise RadpostError(OPENPGP_MALFORMED, "the literal data end too early")


def _judge_decrypted(report: Report, info: list[str], texts: int, *, legacy: bool) -> Decrypted:
    method, cipher, aead = (int(value) for value in [*info[:2], *(info[2:3] or ["0"])])
    if not method and not aead:
        raise RadpostError(NO_INTEGRITY)
    if report.has("DECRYPTION_FAILED") or not report.has("DECRYPTION_OKAY"):
        raise RadpostError(TAMPERED)
    if not (report.has("GOODMDC") or aead):
        raise RadpostError(TAMPERED)
    if cipher in LEGACY_CIPHERS and not legacy:
        raise RadpostError(LEGACY_ALGORITHM, CIPHERS[cipher])
    if not texts:
        raise RadpostError(OPENPGP_MALFORMED, "no plaintext in the message")
    name = CIPHERS.get(cipher, f"cipher {cipher}")
    warnings = (f"legacy-cipher:{name}",) if cipher in LEGACY_CIPHERS else ()
    return Decrypted("aead" if aead else "mdc", encrypted=True, cipher=name, warnings=warnings)


def signatures(report: Report, primary_of: Callable[[str], str | None]) -> tuple[Signature, ...]:
    """Return the verdicts in order; ``primary_of`` finds a primary fingerprint by key ID or fingerprint."""
    groups: list[list[tuple[str, list[str]]]] = []
    for word, arguments in report.lines:
        if word == "NEWSIG" or (not groups and word in _STATES):
            groups.append([])
        if groups:
            groups[-1].append((word, arguments))
    found = (_verdict(Report(group), primary_of) for group in groups)
    return tuple(one for one in found if one is not None)


_STATES = {
    "GOODSIG": Verdict.GOOD,
    "EXPSIG": Verdict.EXPIRED_KEY,
    "EXPKEYSIG": Verdict.EXPIRED_KEY,
    "REVKEYSIG": Verdict.REVOKED_KEY,
    "BADSIG": Verdict.BAD,
    "ERRSIG": Verdict.BAD,
}


def _verdict(group: Report, primary_of: Callable[[str], str | None]) -> Signature | None:
    state = next(((word, arguments) for word, arguments in group.lines if word in _STATES), None)
    if state is None:
        # a signature packet that GnuPG could make nothing of
        return Signature(Verdict.BAD) if group.has("NEWSIG") else None
    word, arguments = state
    if word == "ERRSIG":
        return _error(arguments, primary_of)
    valid = group.first("VALIDSIG")
    if word == "BADSIG" or valid is None or len(valid) < 10:
        return Signature(Verdict.BAD, primary_of(arguments[0]))
    verdict = _STATES[word]
    if verdict is Verdict.GOOD and int(valid[7]) in WEAK_DIGESTS:
        verdict = Verdict.WEAK_DIGEST
    return Signature(verdict, valid[9], valid[0], _time(valid[2]))


def weak_digests(report: Report) -> tuple[str, ...]:
    """Return a warning for every weak digest that a signature uses."""
    used = {int(arguments[7]) for arguments in report.all("VALIDSIG") if len(arguments) > 7}
    return tuple(f"{DIGESTS.get(number, 'ripemd160')}-digest" for number in sorted(used & WEAK_DIGESTS))


def _error(arguments: list[str], primary_of: Callable[[str], str | None]) -> Signature:
    """ERRSIG keyid algorithm digest class time rc fingerprint."""
    fields = [*arguments, *[""] * 7]
    named = fields[6] if len(fields[6]) == 40 else None
    if fields[5] == _NO_PUBKEY_RC:
        return Signature(Verdict.UNKNOWN_KEY, None, named, _time(fields[4]))
    primary = primary_of(named or fields[0])
    if fields[2].isdigit() and int(fields[2]) in WEAK_DIGESTS:
        return Signature(Verdict.WEAK_DIGEST, primary, named, _time(fields[4]))
    verdict = Verdict.UNKNOWN_KEY if fields[5] in _UNSUPPORTED_RCS else Verdict.BAD
    return Signature(verdict, primary, named, _time(fields[4]))


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromtimestamp(int(text), UTC) if text.isdigit() and int(text) else None
    except (OverflowError, ValueError):
        return None
