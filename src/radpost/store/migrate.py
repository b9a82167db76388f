"""Migrations by Alembic, run in-process on the engine that is already open."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from radpost.errors import STORE_UNUSABLE, RadpostError


def configuration(engine: Engine | None = None) -> Config:
    """Return Alembic's configuration with our scripts; no ini file needed."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["engine"] = engine
    return config


def upgrade(engine: Engine, current: str | None, target: str = "head") -> None:
    """Bring the schema up; refuse a database written by a newer Radpost."""
    config = configuration(engine)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise RadpostError(STORE_UNUSABLE, f"schema {current} is of a newer Radpost; install that version")
    command.upgrade(config, target)
