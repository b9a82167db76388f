"""The commented configuration file that ``radpost init`` writes."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Answers:
    """What ``radpost init`` asks for; all else has a default that can be changed in the file."""

    name: str
    address: str
    mail_host: str
    language: str = "en"
    mailbox_kind: str = "imap"


_TEMPLATE: Final = """\
# Radpost configuration. Written by 'radpost init'; change it with any editor.
# 'radpost doctor' tests every step of it and says what to do. Relative paths are read against this folder.
# Secrets may stand here, in a file of their own (password_file), or in the environment (password_env).

data = "data"                 # database, spool and quarantine; private to the user that runs Radpost

[institution]
name = {name}
address = {address}           # the mail address that partners write to
language = {language}         # language of messages to people: "en" or "de"

# --- DICOM in: modalities and the PACS send studies to the AE title of a partner -----------------------
[dicom]
host = "127.0.0.1"            # "0.0.0.0" to listen on all interfaces
port = 11112
quiet_seconds = 30            # a study is complete this long after its last object
allow_any_station = false     # true admits every calling AE title; better to list them:
# [[dicom.stations]]
# ae_title = "CT1"
# address = "10.1.2.3"        # or a network such as "10.1.2.0/24"; empty admits any address
# [dicom.tls]
# certificate = "dicom.crt"
# key = "dicom.key"
# ca = "stations-ca.crt"      # when given, stations must show a certificate of this CA

# --- The institution's own PACS, asked by 'radpost send --study UID' -----------------------------------
# [pacs]
# ae_title = "PACS"
# host = "10.1.2.10"
# port = 104
# our_ae_title = "RADPOST"    # the PACS must know this AE title at our host and port for C-MOVE
# retrieve = "move"           # or "get"
# addresses = ["10.1.2.10"]   # from where it sends to us; empty: from 'host' alone

# --- Where received objects go --------------------------------------------------------------------------
# What no destination takes stays in Radpost and raises an alarm, until there is one that takes it.
# [[destination]]
# name = "pacs"
# kind = "dicom"              # "dicom", "folder" or "program"
# takes = "dicom"             # "dicom", "other" (documents), "all", or "rest": what no other takes
# ae_title = "PACS"
# host = "10.1.2.10"
# port = 104
# our_ae_title = "RADPOST"
# versions = "deliver"        # same SOP Instance UID, other content: "deliver" or "hold" for a person

[[destination]]
name = "received"
kind = "folder"
takes = "rest"                # everything, until a PACS above takes the DICOM objects; then what it does not
path = "received"

# [[destination]]
# name = "archive-script"
# kind = "program"
# takes = "all"
# command = ["/usr/local/bin/archive", "--file", "{{path}}"]   # {{path}} {{study}} {{partner}} {{key}}

# --- Mail out -------------------------------------------------------------------------------------------
[submission]
host = {mail_host}
port = 587
security = "starttls"         # "starttls", "tls" (port 465) or, on loopback only, "none"
user = {address}
password_file = "mail-password"
# helo = "mail.klinik.example" # the name we greet with; default is the domain of our address

# --- Mail in: only outbound connections are needed -----------------------------------------------------
[[mailbox]]
name = "inbox"
kind = {mailbox_kind}         # "imap" or "pop3"
host = {mail_host}
port = {mailbox_port}
security = "tls"
user = {address}
password_file = "mail-password"
exclusive = false             # true: the mailbox is ours alone
# [mailbox.oauth]             # instead of a password
# token_url = "https://login.example/token"
# client_id = "..."
# refresh_token_file = "refresh-token"

# --- Mail in without a mailbox: for institutions that are their own mail provider ----------------------
# [[receiver]]
# protocol = "smtp"           # or "lmtp" behind an existing Postfix
# host = "127.0.0.1"
# port = 2525
# name = "mail.klinik.example"
# certificate = "mail.crt"
# key = "mail.key"
# require_tls = true

[limits]
disk_reserve_bytes = 1_000_000_000      # below this much free space nothing is accepted
quarantine_bytes = 20_000_000_000
foreign_days = 90                       # directly received mails that are not for Radpost are kept so long
receipt_overdue_seconds = 3600          # after this an unconfirmed mail raises an alarm
incomplete_set_seconds = 3600           # after this missing mails of a set raise an alarm
"""


def render(answers: Answers) -> str:
    """Return the file's text."""
    return _TEMPLATE.format(
        name=_quoted(answers.name),
        address=_quoted(answers.address),
        language=_quoted(answers.language),
        mail_host=_quoted(answers.mail_host),
        mailbox_kind=_quoted(answers.mailbox_kind),
        mailbox_port=993 if answers.mailbox_kind == "imap" else 995,
    )


def _quoted(text: str) -> str:
    escaped = "".join(_escape(character) for character in text)
    return f'"{escaped}"'


def _escape(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\u{ord(character):04x}"
