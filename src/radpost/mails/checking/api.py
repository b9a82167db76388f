"""Check mails: ``radpost.check``, and what ``radpost check`` prints."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from radpost.mails.checking import groups, table
from radpost.mails.checking.claims import claim
from radpost.mails.checking.model import Layer
from radpost.mails.checking.results import Checked, Sealed
from radpost.mails.checking.scene import Key, Scene, look
from radpost.mails.keyfiles import as_files
from radpost.mails.keys import offline_keys


def check(
    mails: Iterable[Path | str],
    *,
    secret: Iterable[Path | str] = (),
    certs: Iterable[Path | str] = (),
    passphrase_file: Path | str | None = None,
) -> tuple[Checked, ...]:
    """Put all rules to mails and say which they keep, bend or break.

    Without ``secret`` only the outside is looked at. What is wrong with a mail is a finding, never an
    exception.

    Raises:
        RadpostError: KEY_UNREADABLE.
        OSError: a file cannot be read.
    """
    with ExitStack() as stack:
        key: Key | None = None
        if secrets := tuple(secret):
            keys = stack.enter_context(offline_keys(as_files(secrets, certs, (), passphrase_file)))
            key = Key(keys.engine, keys.temp)
        scenes = [(str(path), look(Path(path).read_bytes(), key)) for path in mails]
        return _judged(scenes, key is not None)


def _judged(scenes: Sequence[tuple[str, Scene]], tried: bool) -> tuple[Checked, ...]:
    together = list(groups.judge([(name, scene.outside) for name, scene in scenes]))
    out = []
    for index, (name, scene) in enumerate(scenes):
        others = together[index :: len(scenes)]
        findings = sorted((*table.judge(scene, name), *others), key=lambda one: -one.weight)
        seals = tuple(seal for layer in scene.layers for seal in _seals(layer, scene, tried))
        out.append(Checked((name,), claim(scene.layers), seals, tuple(findings)))
    return tuple(out)


def _seals(layer: Layer, scene: Scene, tried: bool) -> Iterable[Sealed]:
    inside = {one.seal.at: one.seal for one in scene.layers if one.outer is layer and one.seal is not None}
    failed = {at: (reason, detail) for reason, detail, at in layer.unopened}
    for one in layer.seals:
        seal = inside.get(one.at)
        reason, detail = failed.get(one.at, (None, ""))
        yield Sealed(
            at=one.at,
            recipients=tuple(item.keyid for item in one.recipients),
            reason=reason if tried else None,
            detail=detail,
            opened=seal is not None,
            signature="" if seal is None else seal.signature.verdict.value,
            fingerprint=None if seal is None else seal.signature.fingerprint,
            cipher="" if seal is None else seal.cipher,
            integrity="" if seal is None else seal.integrity,
        )
