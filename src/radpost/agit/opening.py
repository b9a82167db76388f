"""Open a mail: decrypt and verify what is sealed, and find the objects and reports inside.

Nothing that is decrypted leaves before the engine has proven its integrity; whether a verdict is good enough
is for the caller's policy to say (DESIGN invariant 7).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from radpost.agit import cms, inner, names
from radpost.agit.cms import Smime
from radpost.agit.contents import UNCOVERED, Content, Cover, Part, Report, weakest
from radpost.agit.recognition import is_data, is_data_beside_sealed, is_entity, is_mime
from radpost.agit.source import readable
from radpost.agit.survey import (
    SetInfo,
    Survey,
    first_address,
    is_bare_base64,
    read_set,
    study_uids,
)
from radpost.errors import (
    BINDING_MISMATCH,
    LEGACY_ALGORITHM,
    NO_INTEGRITY,
    NO_SECRET_KEY,
    OPENPGP_MALFORMED,
    PASSWORD_ENCRYPTED,
    RESOURCE_LIMIT,
    TAMPERED,
    TRUNCATED,
    UNSUPPORTED_ALGORITHM,
    RadpostError,
)
from radpost.mime.cms import Payload as CmsPayload
from radpost.mime.cms import find_smime
from radpost.mime.coding import Buffer
from radpost.mime.headers import Headers
from radpost.mime.pgp import Found, Kind, Payload, Signed, find_openpgp, signed_data, strip_suffix
from radpost.mime.reader import Entity, content, parse
from radpost.mime.report import parse_mdn
from radpost.openpgp.values import NO_SIGNATURE, Engine, Limits, Opened, Signature
from radpost.words import Verdict

__all__ = ["Content", "Cover", "Part", "Report", "open_mail", "studies", "weakest"]

MAX_DEPTH: Final = 4
"""OpenPGP within OpenPGP, at most so deep."""
MAX_SEALS: Final = 500
"""OpenPGP messages and signatures in one mail."""
MAX_FILES: Final = 64
"""Plaintexts of one mail that do not fit in memory; each holds two file descriptors."""
MAX_OBJECTS: Final = 10_000
MAX_DETAILS: Final = 16 << 20
MAX_SIGNATURE: Final = 1 << 20
_OF_THE_DATA: Final = frozenset(
    {
        NO_SECRET_KEY,
        TAMPERED,
        NO_INTEGRITY,
        TRUNCATED,
        PASSWORD_ENCRYPTED,
        OPENPGP_MALFORMED,
        LEGACY_ALGORITHM,
        UNSUPPORTED_ALGORITHM,
        *cms.OF_THE_DATA,
    }
)
"""Faults of the sealed data; all others are ours, or limits, and stop the mail."""


def open_mail(
    survey: Survey,
    buffer: Buffer,
    engine: Engine,
    *,
    temp: Path,
    limits: Limits,
    legacy: bool = False,
    smime: Smime | None = None,
) -> Content:
    """Open all that a surveyed mail holds; close the result.

    S/MIME is opened where ``smime`` says with what. What a cipher without integrity gave and no signature
    inside proves is there only with ``legacy``; `Content.unproven` tells.

    Of several sealed parts those that cannot be opened are named in ``unopened``, if any other has data
    (DESIGN invariants 5 and 6).

    Raises:
        RadpostError: of the OpenPGP engine (NO_SECRET_KEY, TAMPERED, NO_INTEGRITY, ...), MIME_MALFORMED,
            MDN_INVALID, RESOURCE_LIMIT, BINDING_MISMATCH (sealed parts of several mails put together).
            Nothing is released then.
    """
    content_ = Content()
    opener = _Opener(engine, temp, limits, legacy, content_, memory=limits.memory, smime=smime)
    try:
        opener.level(survey.root, survey.found, buffer, _Scope())
        opener.finish(survey.set_info)
    except BaseException:
        content_.__exit__(None, None, None)
        raise
    return content_


def studies(content_: Content) -> Content:
    """Fill the study of documents whose part names none from the one document study of the mail."""
    named = {part.study_uid for part in content_.parts if part.study_uid}
    if len(named) == 1:
        only = named.pop()
        content_.parts[:] = [
            part
            if part.study_uid or part.study_malformed or part.claims_dicom
            else replace(part, study_uid=only)
            for part in content_.parts
        ]
    return content_


@dataclass(frozen=True, slots=True)
class _Scope:
    """What an entity inherits from those around it."""

    study: str = ""
    study_malformed: bool = False
    cover: Cover = UNCOVERED
    depth: int = 0


@dataclass(slots=True)
class _Level:
    """One MIME tree: what is sealed or signed in it, by the identity of the entity."""

    root: Entity
    buffer: Buffer
    payloads: Mapping[int, Sequence[Payload]]
    signed: Mapping[int, Signed]
    cms: Mapping[int, CmsPayload]
    cms_signed: frozenset[int]
    mdn: Entity | None
    sealed: bool
    """Whether the tree, read in clear, holds sealed data."""
    reports: list[tuple[Entity, Cover]] = field(default_factory=list)
    details: list[tuple[Entity, Cover]] = field(default_factory=list)


@dataclass(slots=True)
class _Opener:
    engine: Engine
    temp: Path
    limits: Limits
    legacy: bool
    content: Content
    memory: int
    """What is left of the memory that all plaintexts of the mail may take together."""
    smime: Smime | None = None
    seals: int = 0
    files: int = 0
    covers: list[Cover] = field(default_factory=list)
    sets: list[tuple[bool, SetInfo]] = field(default_factory=list)

    def level(self, root: Entity, found: Found, buffer: Buffer, scope: _Scope) -> None:
        """Take what stands in one MIME tree, and open what is sealed in it."""
        if scope.depth > MAX_DEPTH:
            raise RadpostError(RESOURCE_LIMIT, f"sealed more than {MAX_DEPTH} times")
        payloads: dict[int, list[Payload]] = {}
        for payload in found.payloads:
            payloads.setdefault(id(payload.entity), []).append(payload)
        mdn = parse_mdn(root, buffer)
        others = find_smime(root, buffer) if self.smime is not None else cms.NOTHING
        sealed = any(one.kind is not Kind.CLEARSIGNED for one in found.payloads)
        tree = _Level(
            root=root,
            buffer=buffer,
            payloads=payloads,
            signed={id(signed.entity): signed for signed in (*found.signed, *others.signed)},
            cms={id(payload.entity): payload for payload in others.payloads},
            cms_signed=frozenset(id(signed.entity) for signed in others.signed),
            mdn=mdn.entity if mdn else None,
            sealed=scope.depth == 0 and (sealed or any(cms.is_sealed(one) for one in others.payloads)),
        )
        self._entity(root, tree, scope)
        if mdn is not None:
            if mdn.original_message_id is None:
                mdn = replace(mdn, original_message_id=inner.named(root, mdn.entity))
            for _entity, cover in tree.reports:
                listed = (part for part, covered in tree.details if covered == cover)
                part = next(listed, None)
                details = b"" if part is None else content(part, buffer, MAX_DETAILS)
                self.content.reports.append(Report(mdn, details, cover))

    def finish(self, outside: SetInfo | None) -> None:
        """Settle what holds for the mail as a whole."""
        protected = [info for inside, info in self.sets if inside]
        others = [*([outside] if outside else []), *(info for inside, info in self.sets if not inside)]
        self.content.set_info = next(iter((*protected, *others)), None)
        if len({*protected, *others}) > 1:
            self.content.warn("set-mismatch")
        self.content.judge(self.covers)
        if self.content.unopened and not any(part.cover.encrypted for part in self.content.parts):
            raise RadpostError(*self.content.unopened[0])
        if self.content.unproven:
            if not self.legacy:
                raise RadpostError(NO_INTEGRITY, "CBC without a signature inside that proves the content")
            self.content.warn("no-integrity")

    def _entity(self, entity: Entity, tree: _Level, scope: _Scope) -> None:
        """Look at one entity and all below it."""
        scope = self._studied(entity.headers, scope)
        info = read_set(entity.headers)
        if info is not None and (scope.depth or entity is not tree.root):
            self.sets.append((bool(scope.depth or scope.cover.signatures), info))
        if entity is tree.mdn:
            tree.reports.append((entity, scope.cover))
        if entity.content_type == names.RECEIPT_DETAILS_TYPE:
            tree.details.append((entity, scope.cover))
        payloads = tree.payloads.get(id(entity))
        if payloads:
            for payload in payloads:
                self._payload(payload, tree, scope)
            return
        if id(entity) in tree.cms:
            self._cms(tree.cms[id(entity)], tree, scope)
            return
        wanted = is_data_beside_sealed if tree.sealed else is_data
        if not entity.children and wanted(entity, tree.buffer):
            self._take(entity, tree.buffer, scope)
        elif tree.sealed and not entity.children and is_data(entity, tree.buffer):
            self.content.warn("clear-part-beside-sealed")
        signed = tree.signed.get(id(entity))
        for child in entity.children:
            if signed is not None and child is signed.content:
                self._entity(child, tree, self._below(signed, tree, scope))
            elif not (signed is not None and child is signed.signature) and not _returned(child, entity):
                self._entity(child, tree, scope)

    def _studied(self, headers: Headers, scope: _Scope) -> _Scope:
        """Read the study of an entity and what is in it.

        The nearest header counts (DESIGN 12). It decides whose documents these are: what cannot be read, or
        contradicts another header, is said.
        """
        named = study_uids(headers)
        if not named:
            return scope
        study = next(filter(None, named), "")
        if "" in named:
            self.content.warn("study-malformed")
        if len({*named, scope.study} - {""}) > 1:
            self.content.warn("study-mismatch")
        return replace(scope, study=study or scope.study, study_malformed=not study)

    def _below(self, signed: Signed, tree: _Level, scope: _Scope) -> _Scope:
        """Verify a multipart/signed and return the scope of what it covers."""
        if self.smime is not None and id(signed.entity) in tree.cms_signed:
            cover = self._cms_verified(signed, tree.buffer, scope.cover, self.smime)
        else:
            cover = scope.cover.signed(self._verified(signed, tree.buffer))
        self.covers.append(cover)
        return replace(scope, cover=cover)

    def _cms_verified(self, signed: Signed, buffer: Buffer, cover: Cover, keys: Smime) -> Cover:
        self._count()
        try:
            layer = cms.verified(signed, buffer, keys)
        except RadpostError as error:
            if error.reason not in _OF_THE_DATA:
                raise
            self.content.warn(f"unreadable-signature:{error.reason.name}")
            return cover
        return self._covered(cover, layer)

    def _covered(self, cover: Cover, layer: cms.Layer) -> Cover:
        """Note what a layer of S/MIME says, and return the cover of what is below it."""
        self.content.warn(*layer.warnings)
        if layer.addresses:
            self.content.signers.append(layer.addresses)
        return cms.below(cover, layer)

    def _cms(self, payload: CmsPayload, tree: _Level, scope: _Scope) -> None:
        """Take off a layer of S/MIME and look at what is below."""
        assert self.smime is not None
        self._count()
        try:
            layer = cms.unwrap(payload, tree.buffer, self.smime, legacy=self.legacy)
        except RadpostError as error:
            if scope.depth or error.reason not in _OF_THE_DATA:
                raise
            self.content.unopened.append((error.reason, error.detail))
            return
        if layer is None:
            return
        cover = self._covered(scope.cover, layer)
        self.covers.append(cover)
        below = replace(scope, cover=cover, depth=scope.depth + 1)
        try:
            self._cms_content(payload, layer.content, below)
        except RadpostError as error:
            if cover.unproven and error.reason in _OF_THE_DATA | cms.OF_DAMAGE:
                # nothing proves what was inside, so that this is damage, and no sender learns more of it
                raise RadpostError(TAMPERED, "what was encrypted is damaged") from error
            raise

    def _cms_content(self, payload: CmsPayload, plain: memoryview, scope: _Scope) -> None:
        if not is_entity(plain, named=payload.filename is not None):
            self._document(payload.filename or "", plain, scope)
            return
        root = parse(plain)
        found = find_openpgp(root, plain)
        if not cms.is_layer(root, plain):
            self._bind(inner.headers(root, found), strict=payload.filename is None)
        self.level(root, found, plain, scope)

    def _verified(self, signed: Signed, buffer: Buffer) -> Signature:
        """Verify; a signature that cannot be used does not disturb reception (@GIT 1.1r 5.1)."""
        kind = signed.signature.content_type
        if "pkcs7" in kind or "pkcs7" in signed.entity.params.get("protocol", ""):
            self.content.warn("foreign-signature")
            return NO_SIGNATURE
        self._count()
        detached = content(signed.signature, buffer, MAX_SIGNATURE)
        try:
            return self._weighed(self.engine.verify_detached(signed_data(signed, buffer), detached))
        except RadpostError as error:
            if error.reason not in _OF_THE_DATA:
                raise
            self.content.warn(f"unreadable-signature:{error.reason.name}")
            return NO_SIGNATURE

    def _weighed(self, signature: Signature) -> Signature:
        """A key that is too weak for today proves little, unless the partner's legacy switch admits it."""
        if not signature.legacy_key:
            return signature
        self.content.warn(f"legacy-key:{signature.legacy_key}")
        weakened = signature.verdict is Verdict.GOOD and not self.legacy
        return replace(signature, verdict=Verdict.WEAK_DIGEST) if weakened else signature

    def _payload(self, payload: Payload, tree: _Level, scope: _Scope) -> None:
        try:
            opened = self._opened(payload, tree.buffer)
        except RadpostError as error:
            if error.reason not in _OF_THE_DATA:
                raise
            if scope.depth == 0:
                # nothing aborts the rest: the other sealed parts are opened, this one stays in the mail
                self.content.unopened.append((error.reason, error.detail))
                return
            # a document that happens to be an OpenPGP file, within what was sealed for us, is a document
            if payload.kind is Kind.PGP_MIME:
                raise
            self.content.warn(f"unopened:{error.reason.name}")
            if payload.kind is not Kind.INLINE and is_data(payload.entity, tree.buffer):
                self._take(payload.entity, tree.buffer, scope)
            return
        cover = scope.cover.signed(self._weighed(opened.signature))
        cover = replace(cover, encrypted=cover.encrypted or opened.encrypted)
        self.covers.append(cover)
        below = replace(scope, cover=cover, depth=scope.depth + 1)
        plain: Buffer = opened.plaintext.view() if opened.plaintext.size else b""
        if not is_mime(payload, plain):
            self._file(payload, plain, below)
            return
        before = len(self.content.parts) + len(self.content.reports)
        self._inner(payload, plain, below)
        nothing = before == len(self.content.parts) + len(self.content.reports)
        if nothing and payload.kind is Kind.ATTACHMENT and payload.filename:
            self._file(payload, plain, below)  # a mail that was sealed as a document

    def _opened(self, payload: Payload, buffer: Buffer) -> Opened:
        self._count()
        limits = replace(self.limits, memory=max(0, self.memory))
        with readable(payload, buffer, self.temp, limits.memory) as source:
            opened = self.engine.open(source, temp=self.temp, limits=limits, legacy=self.legacy)
        self.content.hold(opened.plaintext)
        if opened.plaintext.in_memory:
            self.memory -= opened.plaintext.size
        else:
            self.files += 1
        if self.files > MAX_FILES:
            raise RadpostError(RESOURCE_LIMIT, f"more than {MAX_FILES} large sealed parts in one mail")
        for warning in opened.warnings:
            self.content.warn(warning)
        return opened

    def _inner(self, payload: Payload, plain: Buffer, scope: _Scope) -> None:
        """Read the MIME entity that was sealed; it may be signed as a mail of its own (RFC 3156 6.1)."""
        root = parse(plain)
        found = find_openpgp(root, plain)
        if scope.depth == 1:
            self._bind(inner.headers(root, found), strict=payload.kind is Kind.PGP_MIME)
        self.level(root, found, plain, scope)

    def _bind(self, headers: Headers, *, strict: bool) -> None:
        """Remember the first inner header; later ones must be of the same mail."""
        first = self.content.inner
        if first is None:
            self.content.inner = headers
            # @GIT practice 4: asked for inside the encryption
            to = first_address(headers, names.DISPOSITION_NOTIFICATION_TO)
            self.content.request = inner.request(headers)
            self.content.receipt_to = to or first_address(headers, names.NOTIFICATION_TO)
            return
        ids = {first.message_id(), headers.message_id()} - {None}
        if len(ids) > 1 and strict:
            raise RadpostError(BINDING_MISMATCH, "sealed parts of different mails")

    def _file(self, payload: Payload, plain: Buffer, scope: _Scope) -> None:
        name = strip_suffix(payload.filename) or ""
        if payload.kind in {Kind.INLINE, Kind.CLEARSIGNED} and bytes(plain[128:132]) != b"DICM" and not name:
            return
        self._document(name, plain, scope)

    def _document(self, name: str, plain: Buffer, scope: _Scope) -> None:
        if len(plain):
            malformed = scope.study_malformed
            self._add(Part.of_file(name, plain, scope.study, scope.cover, study_malformed=malformed))

    def _take(self, entity: Entity, buffer: Buffer, scope: _Scope) -> None:
        if scope.cover.unproven and cms.is_garbled(entity, buffer):
            raise RadpostError(TAMPERED, "what was encrypted is damaged")
        if is_bare_base64(entity, buffer):
            self.content.warn("encoding-lost")
            entity = replace(entity, encoding="base64")
        malformed = scope.study_malformed
        self._add(Part.of_entity(entity, buffer, scope.study, scope.cover, study_malformed=malformed))

    def _add(self, part: Part) -> None:
        if len(self.content.parts) >= MAX_OBJECTS:
            raise RadpostError(RESOURCE_LIMIT, f"more than {MAX_OBJECTS} objects in one mail")
        self.content.parts.append(part)

    def _count(self) -> None:
        self.seals += 1
        if self.seals > MAX_SEALS:
            raise RadpostError(RESOURCE_LIMIT, f"more than {MAX_SEALS} sealed or signed parts in one mail")


def _returned(child: Entity, parent: Entity) -> bool:
    """Tell whether a child is the message that a report returns (RFC 6522 3)."""
    return parent.content_type == "multipart/report" and child.content_type in {
        "message/rfc822",
        "message/global",
    }
