"""``radpost send`` is killed in the middle: no timer sends what it had taken (DESIGN 3: 4, 5)."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from radpost.errors import UNFINISHED_SEND
from radpost.gateway import unfinished
from radpost.gateway.partners import RADPOST_PEER, Switches
from radpost.store import journal, schema
from radpost.testing.exchange import Exchange, hashes_of, small_study
from radpost.testing.insight import let_collections_be_due, rows
from radpost.testing.institution import Institution, wait_for

OBJECTS = 400
pytestmark = [pytest.mark.peer("gnupg"), pytest.mark.timeout(150)]


def killed_send(institution: Institution, folder: Path) -> int:
    """Start ``radpost send`` and kill it while it takes files; return how many it had taken."""
    command = [sys.executable, "-m", "radpost", "send", str(folder), "--to", "partner_b"]
    process = subprocess.Popen(
        [*command, "--config", str(institution.config_path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **institution.environment},
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not rows(institution, schema.collection_object):
        assert process.poll() is None, "it is not done yet"
    process.kill()
    assert process.wait() == -signal.SIGKILL
    return len(rows(institution, schema.collection_object))


@pytest.mark.parametrize("switches", [Switches(), RADPOST_PEER], ids=["field", "streaming"])
def test_a_killed_send_is_never_finished_by_a_timer(tmp_path: Path, switches: Switches) -> None:
    with Exchange(tmp_path, switches=switches) as exchange:
        a = exchange.a
        files = small_study(tmp_path / "study", OBJECTS, "killed")
        taken = killed_send(a, tmp_path / "study")
        assert 0 < taken < OBJECTS
        time.sleep(3)  # more than a streaming partner's batch would wait
        let_collections_be_due(a)
        wait_for(lambda: UNFINISHED_SEND.code in _alarms(a), "a person is told", 20)
        assert a.transmissions() == []
        with a.site() as site:
            (job,) = unfinished.listed(site)
            assert (job.objects, job.waits) == (taken, True)
        assert not exchange.pacs.hashes()
        # the same order again sends all; the rest of the killed one is dropped
        a.run("send", str(tmp_path / "study"), "--to", "partner_b")
        a.run("unfinished", "drop", job.job, "--yes")
        wait_for(lambda: exchange.pacs.hashes() == hashes_of(files), "the whole study at the PACS", 90)
        assert _alarms(a) == []
        assert rows(a, schema.collection) == []


def _alarms(institution: Institution) -> list[int]:
    with institution.site() as site, site.database.read() as connection:
        return [row.code for row in journal.open_alarms(connection)]
