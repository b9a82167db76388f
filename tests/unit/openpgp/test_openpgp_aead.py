"""EAX by the published vectors, and the packet's limits (draft-koch-librepgp 5.16)."""

import pytest
from cryptography.exceptions import InvalidTag

from radpost.errors import RESOURCE_LIMIT, TAMPERED, TRUNCATED, UNSUPPORTED_ALGORITHM, RadpostError, Reason
from radpost.openpgp.aead import Eax, decrypted

# Bellare, Rogaway, Wagner: The EAX Mode of Operation, appendix; header, key, nonce, plaintext, sealed
VECTORS = [
    (
        "6BFB914FD07EAE6B",
        "233952DEE4D5ED5F9B9C6D6FF80FF478",
        "62EC67F9C3A4A407FCB2A8C49031A8B3",
        "",
        "E037830E8389F27B025A2D6527E79D01",
    ),
    (
        "FA3BFD4806EB53FA",
        "91945D3F4DCBEE0BF45EF52255F095A4",
        "BECAF043B0A23D843194BA972C66DEBD",
        "F7FB",
        "19DD5C4C9331049D0BDAB0277408F67967E5",
    ),
    (
        "234A3463C1264AC6",
        "01F74AD64077F2E704C0F60ADA3DD523",
        "70C3DB4F0D26368400A10ED05D2BFF5E",
        "1A47CB4933",
        "D851D5BAE03A59F238A23E39199DC9266626C40F80",
    ),
]


@pytest.mark.parametrize("vector", VECTORS)
def test_eax(vector: tuple[str, ...]) -> None:
    header, key, nonce, plain, sealed = (bytes.fromhex(text) for text in vector)
    assert Eax(key).decrypt(nonce, sealed, header) == plain
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 1
        with pytest.raises(InvalidTag):
            Eax(key).decrypt(nonce, bytes(changed), header)
    with pytest.raises(InvalidTag):
        Eax(key).decrypt(nonce, sealed, header + b"x")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x02\x09\x02\x00" + bytes(60), UNSUPPORTED_ALGORITHM),
        (b"\x01\x09\x03\x00" + bytes(60), UNSUPPORTED_ALGORITHM),
        (b"\x01\x07\x02\x00" + bytes(60), TAMPERED),
        (b"\x01\x09\x02\x11" + bytes(60), RESOURCE_LIMIT),
        (b"\x01\x09\x02\x10" + bytes(60), TAMPERED),
        (b"\x01\x09\x02\x10" + bytes(20), TRUNCATED),
    ],
)
def test_what_is_wrong_is_named(body: bytes, reason: Reason) -> None:
    with pytest.raises(RadpostError) as caught:
        list(decrypted([body], 9, bytes(32)))
    assert caught.value.reason is reason
