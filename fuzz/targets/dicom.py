"""DICOM headers: any bytes have an identity; all readers of them agree; written again they stay the same."""

import io

from fuzz.elements import CT, mutate, seeds
from fuzz.target import Target
from radpost.dicom.elements import Kind, Token, Writer, dictionary_vr, parse, resolve
from radpost.dicom.headparse import HeadParser
from radpost.dicom.identity import Identity, identify
from radpost.dicom.meta import EXPLICIT_VR_LITTLE_ENDIAN, file_meta, read_meta, split
from radpost.dicom.scanner import Encoding, ReadSource, guess, scan, scan_source
from radpost.errors import RadpostError

dictionary_vr(0x00080016)  # the dictionary is loaded once; no input is to blame for its size
ITEM = b"\xfe\xff\x00\xe0"
_CHUNK = 256
_WINDOW = 1 << 12


def check(data: bytes) -> None:
    """Identify a file, in every way there is."""
    found = identify(data)
    assert found == identify(memoryview(data))
    assert found.size == len(data)
    assert split(data) == found.dataset_offset <= len(data)
    harmless(found)
    by_pieces(data, found)
    from_network(data, found)
    if found.kind == "dicom" and found.transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN:
        stored_again(data, found)
    written_again(data[found.dataset_offset :])


def harmless(found: Identity) -> None:
    """Ids are safe in file names and headers."""
    for uid in (
        found.sop_class_uid,
        found.sop_instance_uid,
        found.study_instance_uid,
        found.series_instance_uid,
    ):
        assert uid is None or (uid.isascii() and uid.isprintable() and len(uid) <= 128 and "/" not in uid)
    assert found.modality is None or found.modality.isalnum()
    if found.kind == "dicom":
        assert found.sop_class_uid
        assert found.sop_instance_uid


def by_pieces(data: bytes, found: Identity) -> None:
    """A file of which only windows are in memory has the same ids."""
    meta = read_meta(data)

    def read(position: int, count: int) -> bytes:
        return data[position : position + min(count, _WINDOW)]

    whole = scan(data, meta.transfer_syntax_uid, meta.dataset_offset)
    for head in (data[:_CHUNK], b""):
        source = ReadSource(head, len(data), read)
        ids = scan_source(source, meta.dataset_offset, meta.transfer_syntax_uid, len(data))
        assert (ids.study_instance_uid, ids.modality) == (whole.study_instance_uid, whole.modality)
        assert ids.sop_instance_uid == whole.sop_instance_uid
    assert found.study_instance_uid == whole.study_instance_uid


def from_network(data: bytes, found: Identity) -> None:
    """The parser of what is still arriving gives the same in any pieces."""
    body = memoryview(data)[found.dataset_offset :]
    syntax = found.transfer_syntax_uid or EXPLICIT_VR_LITTLE_ENDIAN
    results = []
    for step in (len(body) or 1, 61):
        parser = HeadParser(syntax)
        for start in range(0, len(body), step):
            parser.feed(body[start : start + step])
        parser.finish()
        assert all(len(value) <= 128 for value in parser.values.values())
        results.append((parser.values, parser.defects))
    if not any("deflate-broken" in defects for _, defects in results):  # zlib keeps what came before a fault
        assert results[0] == results[1]


def stored_again(data: bytes, found: Identity) -> None:
    """With a meta header of ours it is the same object (DESIGN invariant 2)."""
    body = data[found.dataset_offset :]
    again = identify(file_meta(CT, "1.2.3", EXPLICIT_VR_LITTLE_ENDIAN) + body)
    assert again.dataset_sha256 == found.dataset_sha256 or body[:2] == b"\2\0"


def written_again(body: bytes) -> None:
    """Tokens written in their own encoding are stable from the first writing on."""
    try:
        once = rewrite(body)
    except RadpostError:
        return
    assert rewrite(once) == once


def rewrite(body: bytes) -> bytes:
    """Read a data set as tokens and write them in explicit little endian."""
    sink = io.BytesIO()
    writer = Writer(sink, Encoding.EXPLICIT_LE, keep_lengths=False)
    for token in parse(memoryview(body), guess(body[:8]) or Encoding.EXPLICIT_LE):
        if token.kind is Kind.FRAGMENTS:
            fragments(writer, sink, token)
        else:
            writer.write(token, resolve(token, signed=False, bits=16, waveform_bits=16))
    return sink.getvalue()


def fragments(writer: Writer, sink: io.BytesIO, token: Token) -> None:
    """Write an encapsulated value as it was (PS3.5 A.4)."""
    writer.header(token.tag, token.vr, 0xFFFFFFFF)
    sink.writelines(ITEM + len(one).to_bytes(4, "little") + bytes(one) for one in token.fragments)
    sink.write(b"\xfe\xff\xdd\xe0\0\0\0\0")


TARGET = Target(
    name="dicom",
    rooms=("radpost.dicom",),
    check=check,
    seeds=seeds,
    mutate=mutate,
    seconds=8.0,  # deflated kilobytes are a hundred thousand elements, and they are read in five ways
)
