"""An institution made by ``radpost init``, copied for every test, and commands called as a user does."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from radpost.gateway.config import load
from radpost.gateway.site import Site, open_site
from radpost.openpgp import keys
from radpost.testing.calling import Run, call
from radpost.testing.study import make_study


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    said = call(
        "init",
        folder,
        "--name",
        "Klinik A",
        "--address",
        "radpost@a.example",
        "--algorithm",
        "curve25519",
        "--yes",
    )
    assert said.code == 0, said.err
    path = folder / "radpost.toml"
    text = path.read_text("utf-8").replace(
        "disk_reserve_bytes = 1_000_000_000", "disk_reserve_bytes = 1_000_000"
    )
    path.write_text(text, "utf-8")
    return folder


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """A fresh institution: its folder."""
    folder = tmp_path / "a"
    shutil.copytree(made, folder)
    (folder / "mail-password").write_text("geheim\n", "utf-8")
    return folder


@pytest.fixture
def run(home: Path) -> Run:
    """Call a command of the institution."""
    return lambda *arguments: call(*arguments, "--config", home / "radpost.toml")


@pytest.fixture
def site(home: Path) -> Iterator[Site]:
    """The institution's store."""
    opened = open_site(load(home / "radpost.toml"))
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def their_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The secret key of a partner, as a file."""
    path = tmp_path_factory.mktemp("keys") / "b-secret.asc"
    path.write_bytes(keys.generate("Praxis B", "radpost@b.example", kind=keys.KeyKind.CURVE25519))
    return path


@pytest.fixture(scope="session")
def their_public(their_key: Path) -> Path:
    path = their_key.with_name("b.asc")
    path.write_bytes(keys.export_public(their_key.read_bytes()))
    return path


@pytest.fixture(scope="session")
def fingerprint(their_key: Path) -> str:
    (found,) = keys.split(their_key.read_bytes())
    return found


@pytest.fixture
def partner(run: Run, their_public: Path, fingerprint: str) -> str:
    """A partner with a confirmed key, reached over a route of its own that nobody answers."""
    said = run(
        *("partner", "add", "praxis-b", "--ae-title", "PRAXIS_B", "--address", "radpost@b.example"),
        *("--route", "127.0.0.1:9:none", "--key", their_public, "--fingerprint", fingerprint),
    )
    assert said.code == 0, said.err
    return "praxis-b"


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A study of two slices: its folder and its UID."""
    folder = tmp_path_factory.mktemp("study")
    return folder, make_study(folder, 2)
