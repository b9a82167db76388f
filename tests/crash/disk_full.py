"""The scenarios of ``test_disk_full``: run in a namespace of its own, where it may mount a small file system.

``python disk_full.py sender|receiver|opening DIRECTORY RESERVE``; ends with status 0 if all went as it must.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from radpost.errors import DISK_FULL
from radpost.store import schema
from radpost.testing import forgery
from radpost.testing.exchange import Exchange, c_store, hashes_of
from radpost.testing.insight import arrival_of, hurry, key_of, rows, until
from radpost.testing.institution import Institution, toml_server, wait_for

OUT_OF_RESOURCES = 0xA700
SMALL = 60_000_000


def mount(directory: Path) -> None:
    """Put a small file system where an institution will live."""
    directory.mkdir(parents=True, exist_ok=True)
    options = f"size={SMALL},mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)], check=True)


def fill(directory: Path, left: int) -> Path:
    """Leave only so many bytes free."""
    found = os.statvfs(directory)
    ballast = directory / "ballast"
    with ballast.open("wb") as file:
        block = bytes(1 << 16)
        for _ in range(max(0, found.f_bavail * found.f_frsize - left) >> 16):
            file.write(block)
    return ballast


def limits(reserve: int) -> str:
    return f"\n[limits]\ndisk_reserve_bytes = {reserve}\n"


def alive(institution: Institution) -> None:
    assert institution.process is not None
    assert institution.process.poll() is None, institution.log()[-3000:]
    assert "failed inside" not in institution.log(), institution.log()[-4000:]


def sender(directory: Path, reserve: int) -> None:
    """A's disk fills while a modality sends: it hears A700, keeps the object, and sends it again later."""
    mount(directory / "a")
    with Exchange(directory, a_sections=limits(reserve)) as world:
        world.passes(1)
        world.b.stop()  # what A has taken stays with A
        ballast = fill(world.a.directory, reserve + 5_000_000)
        files = world.study(24, side=700)
        first = {path: c_store(world.a.dicom_port, "PARTNER_B", [path])[0] for path in files}
        taken = [path for path, status in first.items() if status == 0]
        refused = [path for path, status in first.items() if status != 0]
        print(f"taken {len(taken)}, refused {len(refused)}")
        assert taken, first
        assert refused, first
        assert {first[path] for path in refused} == {OUT_OF_RESOURCES}, first
        alive(world.a)
        ballast.unlink()
        again = c_store(world.a.dicom_port, "PARTNER_B", refused)
        assert again == [0] * len(refused), again
        world.b.start()
        until(lambda: world.arrived(files), "all objects", world.a, world.b, timeout=60)
        finish(world)


def receiver(directory: Path, reserve: int) -> None:
    """B's disk fills: mails stay with the sender (452) and arrive when there is room again."""
    mount(directory / "b")
    with Exchange(directory, b_sections=limits(reserve)) as world:
        world.passes(1)
        ballast = fill(world.b.directory, reserve + 5_000_000)
        files = world.study(24, side=700)
        for start in range(0, len(files), 3):
            world.send(files[start : start + 3])
            time.sleep(0.3)
        deadline = time.monotonic() + 20
        while not deferred(world) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert deferred(world), [row["reply"] for row in rows(world.a, schema.submission)]
        for _ in range(5):
            hurry(world.a)
            hurry(world.b)
            time.sleep(0.3)
        assert not world.arrived(files)
        assert hashes_of(files) & world.pacs.hashes(), "what had room has arrived"
        alive(world.b)
        assert not rows(world.b, schema.quarantine), "a full disk is no fault of the mail"
        ballast.unlink()
        until(lambda: world.arrived(files), "all objects", world.a, world.b, timeout=60)
        finish(world)


def opening(directory: Path, reserve: int) -> None:
    """A mail that unfolds to more than B has room for waits for room; it is no bomb and fills no disk."""
    mount(directory / "b")
    documents = toml_server(
        "[[destination]]", name="documents", kind="folder", takes="other", path="documents"
    )
    with Exchange(directory, b_sections=documents + limits(reserve)) as world:
        a, b = world.a, world.b
        ballast = fill(b.directory, reserve + 5_000_000)
        large = forgery.Document(bytes(12_000_000), "large.bin", "application/octet-stream", "2.25.7")
        mail = forgery.letter([large], sender=a.address, recipient=b.address)
        sealed = forgery.seal(mail, to=key_of(b), signer=key_of(a))
        forgery.post(world.b_smtp, b.address, sealed, sender=a.address)
        wait_for(lambda: arrival_of(b, mail.message_id).get("code") == DISK_FULL.code, "it waits", 20)
        assert arrival_of(b, mail.message_id)["state"] == "fetched"
        assert not rows(b, schema.quarantine)
        found = os.statvfs(b.directory)
        assert found.f_bavail * found.f_frsize > reserve, "the reserve is untouched"
        ballast.unlink()
        until(lambda: arrival_of(b, mail.message_id)["state"] == "done", "it is opened", b)
        alive(b)
        world.passes(1)


def deferred(world: Exchange) -> bool:
    return any(row["reply"].startswith("452") for row in rows(world.a, schema.submission))


def finish(world: Exchange) -> None:
    """Everything is confirmed, and exactly once."""
    until(
        lambda: {row.state for row in world.a.transmissions()} == {"confirmed"},
        "all confirmed",
        world.a,
        world.b,
        timeout=60,
    )
    for institution in (world.a, world.b):
        found = [row["dataset_sha256"] for row in rows(institution, schema.object_)]
        assert len(found) == len(set(found))
        alive(institution)
    world.passes(1)


if __name__ == "__main__":
    {"sender": sender, "receiver": receiver, "opening": opening}[sys.argv[1]](
        Path(sys.argv[2]), int(sys.argv[3])
    )
