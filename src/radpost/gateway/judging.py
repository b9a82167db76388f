"""What an opened mail is worth: the signature policy of its partner, and what binds inside and outside."""

from dataclasses import dataclass

from radpost.agit.binding import contradictions
from radpost.agit.contents import InnerRequest
from radpost.agit.opening import Content
from radpost.agit.survey import SetInfo, Survey
from radpost.errors import BINDING_MISMATCH, UNENCRYPTED, RadpostError, Reason
from radpost.gateway import noting
from radpost.gateway.partners import Partner
from radpost.gateway.site import Site
from radpost.mime.headers import Headers
from radpost.store.incoming_mails import ArrivalRow
from radpost.transfer import incoming as machine
from radpost.transfer.policy import Quarantine, judge
from radpost.words import Verdict


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found inside a mail, released by the partner's policy."""

    partner: Partner
    verdict: Verdict
    fingerprint: str | None
    set_info: SetInfo | None
    wanted: bool
    """A receipt is asked for and may be given."""
    receipt_to: str
    """Who wants the receipt, by the header inside; empty if that says nothing."""
    request: InnerRequest | None = None
    """How it is wanted, if that was said inside the encryption."""
    warnings: tuple[str, ...] = ()
    relays: int = 0
    unopened: tuple[tuple[Reason, str], ...] = ()
    """Sealed parts that could not be opened beside those that could."""

    def rest(self) -> str:
        """Say what of the mail stays in quarantine; nothing if all could be opened."""
        if not self.unopened:
            return ""
        count, detail = len(self.unopened), self.unopened[0][1]
        return f"{count} sealed part(s) could not be opened, the others are imported" + (
            f": {detail}" if detail else ""
        )


@dataclass(frozen=True, slots=True)
class Judge:
    """Applies the partners' policies with the keys of one site."""

    site: Site

    def judged(self, row: ArrivalRow, outside: Survey, partner: Partner, content: Content) -> Judged:
        """Apply the signature policy and the binding.

        Raises:
            RadpostError: what sends the mail to quarantine.
        """
        verdict = self.verdict(content, partner)
        if not content.encrypted and not partner.switches.clear:
            raise RadpostError(UNENCRYPTED)
        ruling = judge(partner.settings.policy, verdict)
        if isinstance(ruling, Quarantine):
            raise RadpostError(ruling.reason, f"signature: {verdict.value}")
        if content.inner is not None:
            self._check_binding(outside, content.inner)
        return Judged(
            partner=partner,
            verdict=verdict,
            fingerprint=content.signature.fingerprint,
            set_info=content.set_info,
            wanted=_wanted(row, outside, content, partner),
            receipt_to=content.receipt_to,
            request=content.request,
            warnings=tuple(content.warnings),
            relays=len(outside.root.headers.get_all("Received")),
            unopened=tuple(content.unopened),
        )

    def verdict(self, content: Content, partner: Partner) -> Verdict:
        """Return what the signature is worth: a good one counts only if its key is confirmed for From."""
        signature = content.signature
        if signature.verdict is not Verdict.GOOD:
            return signature.verdict
        known = self.site.keys.ring().belongs(signature.fingerprint, partner.name)
        return Verdict.GOOD if known else Verdict.WRONG_SIGNER

    def refuse_forged(self, outside: Survey, content: Content, partner: Partner) -> None:
        """Keep reports from counting as unsigned ones if what signs them speaks against them.

        Raises:
            RadpostError: what sends the mail to quarantine.
        """
        verdict = self.verdict(content, partner)
        ruling = judge(partner.settings.policy, verdict)
        if verdict in {Verdict.BAD, Verdict.WRONG_SIGNER} and isinstance(ruling, Quarantine):
            raise RadpostError(ruling.reason, f"signature: {verdict.value}")
        if content.inner is not None:
            self._check_binding(outside, content.inner)

    def _check_binding(self, outside: Survey, inner: Headers) -> None:
        """Compare what is repeated inside the signed part with the outside (DESIGN 4 "Binding")."""
        found = contradictions(outside, inner)
        recipients = {address.lower() for address in inner.addresses("To")}
        if recipients and self.site.address.lower() not in recipients:
            found = (*found, "To")
        if found:
            raise RadpostError(BINDING_MISMATCH, found[0])


def _wanted(row: ArrivalRow, outside: Survey, content: Content, partner: Partner) -> bool:
    """Tell whether a receipt is asked for and may be given; the address inside the seal counts."""
    asked = content.receipt_to or outside.receipt_to
    return machine.receipt_allowed(
        machine.Kind.DATA,
        asked=bool(asked) and bool(outside.message_id),
        address_of_partner=asked.lower() == partner.address,
        automatic=noting.automatic(row, outside.root.headers),
    )
