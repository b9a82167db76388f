"""The pool of connections: reuse, wear, rest, and what connections learn from each other."""

import threading

import pytest

from radpost.errors import SERVER_UNREACHABLE
from radpost.testing.scripted import ScriptedServer
from radpost.transport.failure import TransportError
from radpost.transport.smtp import Connection, ServerMemory
from radpost.transport.smtp_pool import Pool
from radpost.transport.tls import Security
from radpost.transport.wire import Endpoint, Timeouts

ENDPOINT = Endpoint("mail.example", 587, Security.LOOPBACK, timeouts=Timeouts(1, 2, 2, 2))
HELLO = "S: 220 ready\nC: EHLO [127.0.0.1]\nS: 250 mail\n"
BYE = "C: QUIT\nS: 221 bye\n"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def make(server: ScriptedServer, clock: Clock, *, limit: int = 2, mails: int = 200) -> Pool:
    return Pool(
        lambda memory: Connection(ENDPOINT, memory=memory, dialler=server.dial),
        limit=limit,
        mails_per_connection=mails,
        clock=clock,
    )


def test_a_connection_is_used_again_and_asked_after_a_rest() -> None:
    clock = Clock()
    server = ScriptedServer(HELLO + "C: NOOP\nS: 250 ok\n" + BYE)
    pool = make(server, clock)
    for moment in (0.0, 5.0, 50.0):
        clock.now = moment
        with pool.lease() as link:
            link.open()
    pool.close()
    server.check()


def test_a_dead_one_is_replaced() -> None:
    clock = Clock()
    server = ScriptedServer(HELLO + "[drop]\n", HELLO + BYE)
    pool = make(server, clock)
    for moment in (0.0, 50.0):
        clock.now = moment
        with pool.lease() as link:
            link.open()
    pool.close()
    server.check()


def test_long_rest_and_wear_end_a_connection() -> None:
    clock = Clock()
    server = ScriptedServer(HELLO + BYE, HELLO + BYE, HELLO + BYE)
    pool = make(server, clock, mails=2)
    with pool.lease() as link:
        link.open()
    clock.now = 1000.0
    with pool.lease() as link:
        link.open()
        link.mails = 2
    with pool.lease() as link:
        link.open()
    clock.now = 2000.0
    pool.prune()
    pool.close()
    server.check()


def test_an_exception_closes_and_lets_others_go_on() -> None:
    clock = Clock()
    server = ScriptedServer(HELLO, HELLO + BYE)
    pool = make(server, clock, limit=1)

    def fail() -> None:
        with pool.lease() as link:
            link.open()
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fail()
    with pool.lease() as link:
        link.open()
    pool.close()
    server.check()


def test_the_limit_holds() -> None:
    server = ScriptedServer()
    pool = make(server, Clock(), limit=1)
    with pool.lease():
        with pytest.raises(TransportError) as caught, pool.lease(timeout=0.01):
            pass
        assert caught.value.reason is SERVER_UNREACHABLE
        got = threading.Event()

        def other() -> None:
            with pool.lease(timeout=5):
                got.set()

        thread = threading.Thread(target=other)
        thread.start()
        assert not got.wait(0.05)
    thread.join()
    assert got.is_set()


def test_lessons_are_shared() -> None:
    server = ScriptedServer()
    pool = make(server, Clock())
    with pool.lease() as one, pool.lease() as other:
        one.memory = ServerMemory(bdat=False)
        other.memory = ServerMemory(null_sender=False, bdat_losses=1)
    assert pool.memory == ServerMemory(bdat=False, bdat_losses=1, null_sender=False)
    with pool.lease() as link:
        assert link.memory == pool.memory
        link.memory = ServerMemory(bdat=False, null_sender=False)
    assert pool.memory.bdat_losses == 0
