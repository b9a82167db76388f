"""Name constraints of an authority (RFC 5280 4.2.1.10): the forms that occur in certificates for mail.

Addresses and directory names are compared; a name of any other form under a constraint of that form is
taken as forbidden.
"""

from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.x509.oid import NameOID


def permits(authority: x509.Certificate, below: Sequence[x509.Certificate]) -> bool:
    """Whether an authority permits the names of all certificates below it."""
    try:
        constraints = authority.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return True
    permitted, excluded = constraints.permitted_subtrees or (), constraints.excluded_subtrees or ()
    for certificate in below:
        if certificate.subject == certificate.issuer and certificate is not below[0]:
            continue  # self-issued authorities are left alone
        for name in _names(certificate):
            same = [one for one in permitted if type(one) is type(name)]
            if same and not any(_within(name, one, other=False) for one in same):
                return False
            if any(_within(name, one, other=True) for one in excluded if type(one) is type(name)):
                return False
    return True


def _names(certificate: x509.Certificate) -> Iterable[x509.GeneralName]:
    if certificate.subject.rdns:
        yield x509.DirectoryName(certificate.subject)
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        for one in certificate.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS):
            yield x509.RFC822Name(str(one.value))
    else:
        yield from alternative


def _within(name: x509.GeneralName, constraint: x509.GeneralName, *, other: bool) -> bool:
    """Whether a name falls under a constraint; ``other`` is the answer for forms that are not compared."""
    if isinstance(name, x509.RFC822Name) and isinstance(constraint, x509.RFC822Name):
        return _address(name.value.lower(), constraint.value.lower())
    if isinstance(name, x509.DirectoryName) and isinstance(constraint, x509.DirectoryName):
        wanted = list(constraint.value.rdns)
        return list(name.value.rdns)[: len(wanted)] == wanted
    return other


def _address(address: str, constraint: str) -> bool:
    """Compare an address with a mailbox, a host, or a domain that begins with a dot."""
    if "@" in constraint:
        return address == constraint
    host = address.rpartition("@")[2]
    return host.endswith(constraint) if constraint.startswith(".") else host == constraint
