"""What the rules read of header blocks."""

from radpost.mails.checking.grammar import fields
from radpost.mails.checking.model import Layer
from radpost.mime.pgp import Found
from radpost.mime.reader import parse


def test_inv8_a_header_is_taken_apart_once_for_all_rules() -> None:
    """Some thirty rules ask for it; with each of them reading it anew a hostile header cost a minute."""
    mail = b"From: a@b.example\r\nno field\r\nX-Long: one\r\n two\r\nX-Gap : x\r\n\r\nbody"
    layer = Layer(mail, parse(mail), Found((), (), ()), {})
    found = fields(layer, layer.root)
    assert [(one.name, one.value, one.gap) for one in found] == [
        ("From", "a@b.example", False),
        ("X-Long", "one two", False),
        ("X-Gap", "x", True),
    ]
    assert fields(layer, layer.root) is found
