"""A migrated database and an empty spool, new for every test."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from radpost.store.database import Database
from radpost.store.spool import Spool


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as the migrations make it; migrating takes too long to do it for every test."""
    path = tmp_path_factory.mktemp("blank") / "radpost.db"
    Database(path).ready().close()
    return path


@pytest.fixture
def database(blank: Path, tmp_path: Path) -> Iterator[Database]:
    """An empty database at the newest schema."""
    path = tmp_path / "radpost.db"
    shutil.copyfile(blank, path)
    opened = Database(path)
    yield opened
    opened.close()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """An empty spool."""
    made = Spool(tmp_path / "spool")
    made.prepare()
    return made
