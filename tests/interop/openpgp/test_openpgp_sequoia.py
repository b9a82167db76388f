"""Another implementation, Sequoia's ``sqop``, reads what we write and the other way round."""

import io
import subprocess
from pathlib import Path

import pytest

from radpost.openpgp import Chunk, Compression, Limits
from radpost.words import Verdict

from .conftest import World

pytestmark = pytest.mark.peer("gnupg", "sqop")


def sqop(*arguments: str, data: bytes) -> bytes:
    done = subprocess.run(["sqop", *arguments], input=data, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    return done.stdout


@pytest.mark.parametrize("kind", ["rsa", "ecc"])
@pytest.mark.parametrize("compress", list(Compression))
@pytest.mark.parametrize("size", [0, 1, 700, 1_200_000])
def test_sqop_reads_and_verifies_what_we_write(
    world: World, tmp_path: Path, kind: str, compress: Compression, size: int
) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    out = io.BytesIO()
    source = [Chunk(data[:1000]), Chunk(data[1000:], compressible=False)]
    own = world.own(kind)
    world.native.seal(source, out, recipients=[own], signer=own, compress=compress)
    secret, public, verdict = (tmp_path / name for name in ("secret", "public", "verdict"))
    party = world.rsa if kind == "rsa" else world.ecc
    secret.write_bytes(party.secret)
    public.write_bytes(party.public)
    plain = sqop(
        "decrypt", f"--verify-out={verdict}", f"--verify-with={public}", str(secret), data=out.getvalue()
    )
    assert plain == data
    assert own in verdict.read_text()


@pytest.mark.parametrize("kind", ["rsa", "ecc"])
def test_we_read_and_verify_what_sqop_writes(world: World, tmp_path: Path, kind: str) -> None:
    party = world.rsa if kind == "rsa" else world.ecc
    secret, public = tmp_path / "secret", tmp_path / "public"
    secret.write_bytes(world.partner.secret)
    public.write_bytes(party.public)
    for size in (0, 5, 900_000):
        data = b"study " * (size // 6 + 1)
        message = sqop("encrypt", f"--sign-with={secret}", str(public), data=data[:size])
        opened = world.native.open(io.BytesIO(message), temp=tmp_path, limits=Limits())
        assert opened.engine == "native"
        assert bytes(opened.plaintext.view()[:]) == data[:size]
        assert opened.signature.verdict is Verdict.GOOD
        assert opened.signature.fingerprint == world.partner.fingerprint
    signature = sqop("sign", str(secret), data=b"text")
    assert world.native.verify_detached([b"text"], signature).verdict is Verdict.GOOD
    inline = sqop("inline-sign", str(secret), data=b"text")
    opened = world.native.open(io.BytesIO(inline), temp=tmp_path, limits=Limits())
    assert (opened.signature.verdict, opened.encrypted) == (Verdict.GOOD, False)
