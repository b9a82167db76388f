"""The house stands: no import runs upwards, and the rooms on the ground do not know each other (DESIGN 2)."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import radpost

SOURCE = Path(__file__).resolve().parents[2] / "src/radpost"

WORDS = frozenset({"errors", "words"})
GROUND = frozenset({"mime", "openpgp", "smime", "dicom", "store", "transport", "transfer"})
WRITERS = frozenset({"agit", "xdm", "qcit"})
OFFLINE = frozenset({"mails"})
"""Combines like the gateway, but on files alone: no gateway, no store, no network."""
COMBINING = frozenset({"gateway", "directory", "proxy", "supervision", "conformance"}) | OFFLINE
FACES = frozenset({"web", "cli"})
TESTING = frozenset({"testing"})
ROOMS = WORDS | GROUND | WRITERS | COMBINING | FACES | TESTING
# The only module of the program that may use the public fakes: the demonstration is made of them.
DEMO = "cli.demo"


def allowed(room: str, module: str) -> frozenset[str]:
    """Return the rooms that a module may import besides its own."""
    if room in WORDS:
        return WORDS
    if room in GROUND:
        return WORDS
    if room in WRITERS:
        return WORDS | {"mime", "openpgp", "smime", "dicom"}
    if room in OFFLINE:
        return WORDS | WRITERS | {"mime", "openpgp", "smime", "dicom", "transfer"}
    if room in COMBINING:
        return WORDS | GROUND | WRITERS | COMBINING
    if room in FACES:
        below = WORDS | GROUND | WRITERS | COMBINING | FACES
        return below | TESTING if module == DEMO or module.startswith(f"{DEMO}.") else below
    if room in TESTING:
        return ROOMS
    raise AssertionError(f"{room}: not a room of the house; give it a floor in DESIGN 2 and here")


def imported(tree: ast.AST, module: str, *, is_package: bool) -> Iterator[tuple[int, str]]:
    """Yield line and absolute name of everything a module imports, also inside of functions."""
    package = ["radpost", *module.split(".")] if module else ["radpost"]
    base = package if is_package else package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            parts = base[: len(base) - node.level + 1] if node.level else []
            parent = ".".join([*parts, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{parent}.{alias.name}"


def violations(text: str, module: str, *, is_package: bool = False) -> list[str]:
    """Return the imports of a module that the floors forbid, as readable lines."""
    room = module.partition(".")[0]
    found = []
    for line, name in imported(ast.parse(text), module, is_package=is_package):
        top, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if top == "radpost":
            fine = target == room or target in allowed(room, module) or target.startswith("__")
        else:
            # The state machines stand on nothing but the standard library and our words.
            fine = room not in WORDS | {"transfer"} or top in sys.stdlib_module_names
        if not fine:
            found.append(f"radpost.{module}:{line} imports {name}")
    return found


def modules() -> list[tuple[Path, str, bool]]:
    """Return every source file with the name of its module below radpost."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        if name and name != "__main__":
            found.append((path, name, is_package))
    return found


def test_no_import_runs_upwards() -> None:
    found = [
        line
        for path, name, is_package in modules()
        for line in violations(path.read_text("utf-8"), name, is_package=is_package)
    ]
    assert found == []


def test_every_room_has_a_floor() -> None:
    assert {name.partition(".")[0] for _, name, _ in modules()} <= ROOMS


def test_the_package_itself_loads_nothing_until_it_is_asked() -> None:
    code = "import sys, radpost; print(sorted(name for name in sys.modules if name.startswith('radpost.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", [name for name in radpost.__all__ if name != "__version__"])
def test_every_public_function_is_there_when_it_is_asked_for(name: str) -> None:
    assert callable(getattr(radpost, name))
    assert name in dir(radpost)


def test_what_is_not_public_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        radpost.nothing  # noqa: B018  the look-up is the test


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("mime.reader", "import radpost.store.rows"),
        ("mime.reader", "from radpost import store"),
        ("mime.reader", "from ..openpgp import engine"),
        ("openpgp.gnupg", "def f():\n    from radpost.mime import reader"),
        ("store.rows", "from radpost.gateway.config import Site"),
        ("transfer.mail", "import sqlalchemy"),
        ("transfer.mail", "from radpost.store import rows"),
        ("errors", "import msgspec"),
        ("words", "from radpost.mime import reader"),
        ("agit.letter", "from radpost.transport import smtp"),
        ("agit.letter", "from radpost.store import rows"),
        ("gateway.run", "from radpost.cli import main"),
        ("gateway.run", "from radpost.testing import peers"),
        ("mails.opening", "from radpost.gateway.config import Site"),
        ("mails.opening", "from radpost.store import rows"),
        ("mails.packing", "from radpost.transport import smtp"),
        ("cli.send", "from radpost.testing import peers"),
        ("cli.demonstration", "from radpost.testing import peers"),
    ],
)
def test_the_check_finds_what_is_forbidden(module: str, text: str) -> None:
    assert violations(text, module) != []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (
            "mime.reader",
            "from radpost.errors import RadpostError\nfrom radpost.mime import coding\nimport isal",
        ),
        ("mime.reader", "from . import coding\nfrom .coding import decode"),
        ("transfer.mail", "import enum\nfrom radpost.words import Truth"),
        ("agit.letter", "from radpost.mime import writer\nfrom radpost.openpgp import Engine"),
        ("gateway.run", "from radpost.agit import letter\nfrom radpost import __version__"),
        ("mails.opening", "from radpost.agit import opening\nfrom radpost.smime import decrypt"),
        ("cli.demo", "from radpost.testing import peers"),
        ("testing.peers", "from radpost.gateway import config"),
    ],
)
def test_the_check_lets_pass_what_is_allowed(module: str, text: str) -> None:
    assert violations(text, module) == []


def test_a_new_room_must_be_given_a_floor() -> None:
    with pytest.raises(AssertionError, match="not a room"):
        violations("import radpost.mime", "attic.box")
