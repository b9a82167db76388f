"""``radpost doctor``: every step of the configuration is tried, and each failure names cause and remedy.

Nothing is changed and no mail is sent: connections are opened, signed in and closed again.
"""

import ipaddress
import shutil
import socket
import ssl
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from radpost.errors import (
    CONFIG_INVALID,
    FOLDER_UNUSABLE,
    NO_DESTINATION,
    OWN_KEY_UNUSABLE,
    PROGRAM_MISSING,
    SERVER_UNREACHABLE,
    STORE_UNUSABLE,
    RadpostError,
)
from radpost.gateway import doctor_servers, keyring, placing
from radpost.gateway.config import Account, Config, Destination, is_loopback
from radpost.gateway.firewall import rules
from radpost.gateway.phrases import say
from radpost.gateway.site import Site, open_site, wake
from radpost.openpgp.values import grouped
from radpost.store import lookups
from radpost.words import Language

CLOCK_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Check:
    """One step: what was tried, how it ended, and what to do."""

    step: str
    subject: str
    state: Literal["ok", "warning", "failed"]
    found: str
    remedy: str = ""
    code: int | None = None
    """Of the table of reasons."""


def examine(config: Config, path: Path) -> Iterator[Check]:
    """Yield the result of each step as it is known; no step stops the next."""
    language = config.institution.language
    yield Check("configuration", path.name, "ok", f"{config.institution.name} <{config.institution.address}>")
    yield from _private(config, path, language)
    yield from _programs(language)
    site, checks = _data(config, language)
    yield from checks
    yield from _names(config, site, language)
    if site is None:
        return
    try:
        yield from _running(site, language)
        for step in (_keys, _partners, _clock, _dicom_in):
            yield from step(site, language)
        for probe in doctor_servers.probes(site, language):
            yield _timed(probe, language)
        for item in config.destination:
            if item.kind != "dicom":
                yield _handover(site, item, language)
    finally:
        site.close()


def failure(step: str, subject: str, error: RadpostError, language: Language) -> Check:
    """Return a failed step: the reason's sentence names cause and remedy, the detail the facts."""
    return Check(step, subject, "failed", error.detail, error.reason.sentence(language), error.reason.code)


def _timed(probe: doctor_servers.Probe, language: Language) -> Check:
    started = time.monotonic()
    try:
        result = probe.run()
    except RadpostError as error:
        return failure(probe.step, probe.subject, error, language)
    except (OSError, ssl.SSLError) as error:
        text = error.strerror or type(error).__name__
        return failure(probe.step, probe.subject, RadpostError(SERVER_UNREACHABLE, text), language)
    seconds = time.monotonic() - started
    state: Literal["ok", "warning"] = "warning" if result.remedy else "ok"
    return Check(probe.step, probe.subject, state, f"{result.found} ({seconds:.1f} s)", result.remedy)


def _private(config: Config, path: Path, language: Language) -> Iterator[Check]:
    accounts = (*config.mailbox, *((config.submission,) if config.submission else ()))
    others = stat.S_IRWXO
    files = [(path, others | stat.S_IRWXG)] if any(map(_holds_secret, accounts)) else []
    for account in accounts:
        oauth = account.oauth
        named = (
            account.password_file,
            *((oauth.client_secret_file, oauth.refresh_token_file) if oauth else ()),
        )
        files += [(config.path(name), others | stat.S_IRWXG) for name in named if name]
    # Debian lets the group ssl-cert read TLS keys
    files += [(config.path(name), others) for name in _tls_keys(config)]
    for file, mask in dict(files).items():
        try:
            if file.stat().st_mode & mask:
                found = "readable by others"
                yield Check("configuration", file.name, "warning", found, say("config-open", language))
        except OSError as error:
            text = f"{file}: {error.strerror}"
            yield failure("configuration", file.name, RadpostError(CONFIG_INVALID, text), language)
    for account in accounts:
        try:
            account.secrets(Path(config.folder))
        except RadpostError as error:
            yield failure("configuration", account.host, error, language)


def _holds_secret(account: Account) -> bool:
    oauth = account.oauth
    return bool(account.password or (oauth and (oauth.client_secret or oauth.refresh_token)))


def _tls_keys(config: Config) -> Iterator[str]:
    services = (config.dicom, config.pacs, *config.destination)
    yield from (service.tls.key for service in services if service is not None and service.tls is not None)
    yield from (receiver.key for receiver in config.receiver if receiver.key)


def _programs(language: Language) -> Iterator[Check]:
    for name in ("gpg", "gpg-agent", "gpgconf"):
        path = shutil.which(name)
        if path:
            yield Check("programs", name, "ok", path)
        else:
            remedy = say("gnupg", language)
            yield Check("programs", name, "failed", "not found", remedy, PROGRAM_MISSING.code)


def _data(config: Config, language: Language) -> tuple[Site | None, list[Check]]:
    root = config.data_path
    if not root.is_dir():
        remedy = say("data-missing", language)
        return None, [
            Check("data directory", str(root), "failed", "does not exist", remedy, STORE_UNUSABLE.code)
        ]
    checks = []
    if stat.S_IMODE(root.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        checks.append(
            Check("data directory", str(root), "warning", "not private", say("data-open", language))
        )
    try:
        site = open_site(config)
    except RadpostError as error:
        return None, [*checks, failure("data directory", str(root), error, language)]
    free, reserve = site.spool.free_bytes(), config.limits.disk_reserve_bytes
    found = f"{free / 1e9:.1f} GB free, {reserve / 1e9:.1f} GB reserved"
    if free < reserve:
        checks.append(Check("data directory", str(root), "failed", found, say("disk-low", language), 711))
    elif free < 3 * reserve:
        checks.append(Check("data directory", str(root), "warning", found, say("disk-low", language)))
    else:
        checks.append(Check("data directory", str(root), "ok", found))
    return site, checks


def _names(config: Config, site: Site | None, language: Language) -> Iterator[Check]:
    hosts = {rule.host for rule in rules(config, site) if rule.direction == "out" and not _is_ip(rule.host)}
    for host in sorted(hosts):
        try:
            found = {str(item[4][0]) for item in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
        except OSError as error:
            text = error.strerror or "not found"
            yield Check("names", host, "failed", text, say("dns", language), SERVER_UNREACHABLE.code)
        else:
            yield Check("names", host, "ok", ", ".join(sorted(found)[:3]))


def _running(site: Site, language: Language) -> Iterator[Check]:
    if wake(site.config):
        yield Check("gateway", site.config.institution.name, "ok", "running")
    else:
        remedy = say("not-running-doctor", language)
        yield Check("gateway", site.config.institution.name, "warning", "not running", remedy)


def _keys(site: Site, language: Language) -> Iterator[Check]:
    try:
        views = keyring.listed(site)
    except RadpostError as error:
        yield failure("keys", "all", error, language)
        return
    own = [view for view in views if view.owner == "own"]
    usable = [view for view in own if view.usable]
    now = datetime.fromtimestamp(site.clock(), UTC)
    if not usable:
        found = f"{own[0].state}: {own[0].fingerprint}" if own else "none"
        remedy = say("own-key-missing", language)
        yield Check("keys", "own", "failed", found, remedy, OWN_KEY_UNUSABLE.code)
    for view in usable:
        if keyring.soon_expired(view, now):
            yield Check("keys", "own", "warning", f"expires {view.expires}", say("key-expires", language))
        else:
            until = f", expires {view.expires}" if view.expires else ", does not expire"
            yield Check("keys", "own", "ok", f"{view.algorithm} {grouped(view.fingerprint)}{until}")
    for partner in site.partners.all():
        theirs = [view for view in views if view.owner == partner.name]
        good = [view for view in theirs if view.usable]
        if good:
            late = [view for view in good if keyring.soon_expired(view, now)]
            remedy = say("key-expires", language) if len(late) == len(good) else ""
            found = f"{good[-1].algorithm} {grouped(good[-1].fingerprint)}"
            yield Check("keys", partner.name, "warning" if remedy else "ok", found, remedy)
        elif any(view.state == "not confirmed" for view in theirs):
            key = next(view for view in theirs if view.state == "not confirmed")
            remedy = say("partner-key-unconfirmed", language)
            found = f"not confirmed: {grouped(key.fingerprint)}"
            yield Check("keys", partner.name, "failed", found, remedy, 208)
        else:
            found = theirs[0].state if theirs else "none"
            yield Check("keys", partner.name, "failed", found, say("partner-key-missing", language), 208)


def _partners(site: Site, language: Language) -> Iterator[Check]:
    config = site.config
    partners = site.partners.all()
    if not partners:
        yield Check("partners", "all", "warning", "none", say("no-partners", language))
    if config.submission is None and any(partner.settings.route is None for partner in partners):
        yield Check("mail out", "submission", "failed", "not configured", say("no-submission", language), 701)
    if not config.mailbox and not config.receiver:
        yield Check("mail in", "mailbox", "failed", "not configured", say("no-inbox", language), 701)
    for partner in partners:
        if not partner.switches.teleradiology:
            continue
        route = partner.settings.route
        account = route or config.submission
        servers = (*((account,) if account is not None else ()), *config.mailbox)
        plain = [item for item in servers if item.security == "none"]
        if partner.switches.clear:
            yield Check(
                "teleradiology", partner.name, "failed", "clear = true", say("tele-clear", language), 108
            )
        if plain:
            found = ", ".join(f"{item.host}: security 'none'" for item in plain)
            yield Check("teleradiology", partner.name, "failed", found, say("tele-plain", language), 702)
        yield from _received_clear(config, partner.name, language)
        if partner.settings.policy.value != "require":
            found = f"policy '{partner.settings.policy.value}'"
            yield Check("teleradiology", partner.name, "warning", found, say("tele-policy", language))


def _received_clear(config: Config, partner: str, language: Language) -> Iterator[Check]:
    """Say where a partner who must not write in clear could try to; on loopback there is no network."""
    for receiver in config.receiver:
        if receiver.require_tls or is_loopback(receiver.host):
            continue
        found = f"[[receiver]] {receiver.host}:{receiver.port}: TLS is "
        remedy = say("tele-receiver", language)
        if receiver.certificate:
            yield Check("teleradiology", partner, "warning", found + "not required", remedy)
        else:
            yield Check("teleradiology", partner, "failed", found + "not offered", remedy, 702)


def _clock(site: Site, language: Language) -> Iterator[Check]:
    with site.database.read() as connection:
        newest = lookups.newest_event(connection)
    now = site.clock()
    if newest is not None and newest > now + CLOCK_SECONDS:
        found = f"the journal is {newest - now:.0f} s ahead: the clock was set back"
        yield Check("clock", "this machine", "warning", found, say("clock", language))
    else:
        found = datetime.fromtimestamp(now, UTC).isoformat(" ", "seconds")
        yield Check("clock", "this machine", "ok", found)


def _dicom_in(site: Site, language: Language) -> Iterator[Check]:
    dicom = site.config.dicom
    if dicom is not None:
        where = f"{dicom.host}:{dicom.port}"
        if dicom.allow_any_station:
            yield Check("DICOM in", where, "warning", "any station", say("any-station", language))
        elif not dicom.stations:
            yield Check("DICOM in", where, "warning", "no stations", say("no-stations", language), 408)
        else:
            yield Check("DICOM in", where, "ok", f"{len(dicom.stations)} stations may send")
    yield from _places(site, language)


def _places(site: Site, language: Language) -> Iterator[Check]:
    """Look whether what partners send has a place to go: nothing may wait unseen (invariant 4)."""
    rules = {partner.name: partner.settings.destination for partner in site.partners.all()}
    for kind, what, key in (("dicom", "DICOM", "no-destination"), ("other", "documents", "no-documents")):
        without = [name for name, rule in rules.items() if not placing.destinations(site.config, rule, kind)]
        if without or not placing.destinations(site.config, (), kind):
            found = f"none takes {what}" + (f" of {', '.join(without)}" if without else "")
            grave = bool(without) and kind == "dicom"
            yield Check(
                "destinations",
                what,
                "failed" if grave else "warning",
                found,
                say(key, language),
                NO_DESTINATION.code,
            )


def _handover(site: Site, item: Destination, language: Language) -> Check:
    """Try a folder or look for a program."""
    if item.kind == "program":
        path = shutil.which(item.command[0])
        if path:
            return Check("destinations", item.name, "ok", path)
        found = f"{item.command[0]}: not found"
        return Check("destinations", item.name, "failed", found, say("no-program", language), 411)
    folder = site.config.path(item.path)
    probe = folder / ".radpost-doctor"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        text = f"{folder}: {error.strerror}"
        return failure("destinations", item.name, RadpostError(FOLDER_UNUSABLE, text), language)
    return Check("destinations", item.name, "ok", f"{folder} can be written")


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
