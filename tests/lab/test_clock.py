"""Lab time: it stands while somebody computes, and jumps when everybody waits."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.lab.clock import RealClock, SimClock


@pytest.fixture
def clock() -> Iterator[SimClock]:
    made = SimClock()
    yield made
    made.close()


def test_an_hour_passes_at_once(clock: SimClock) -> None:
    """A sleep of an hour takes no time when nobody else has anything to do."""
    began = time.monotonic()
    before = clock.now()
    clock.sleep(3600)
    assert clock.monotonic() == 3600
    assert (clock.now() - before).total_seconds() == 3600
    assert time.monotonic() - began < 2


def test_time_stands_while_somebody_is_busy(clock: SimClock) -> None:
    """A deadline does not come while a thread is inside busy(), however long that takes."""
    woken = threading.Event()
    with clock.busy():
        sleeper = threading.Thread(target=lambda: (clock.sleep(1), woken.set()))
        sleeper.start()
        assert not woken.wait(0.1)
        assert clock.monotonic() == 0
    assert woken.wait(5)
    assert clock.monotonic() == 1


def test_a_wait_lifts_the_own_mark(clock: SimClock) -> None:
    """A busy thread that sleeps does not stop its own time."""
    with clock.busy(), clock.busy():
        clock.sleep(5)
        assert clock.monotonic() == 5
        assert not clock.wait(threading.Event(), 7)
    assert clock.monotonic() == 12


def test_the_least_wait_moves_time(clock: SimClock) -> None:
    """A wait too short to be added to the clock's floats moves it all the same: a loop over what is left of a time comes to its end."""
    clock.sleep(1000.3)
    before = clock.monotonic()
    clock.sleep(1e-17)
    assert before < clock.monotonic() < before + 1e-9


def test_an_interrupted_wait_gives_the_mark_back(clock: SimClock) -> None:
    """A signal that ends a wait of the main thread leaves it busy as it was: time stands for the others."""

    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    woken = threading.Event()
    with clock.busy():
        threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGUSR1)).start()
        with pytest.raises(Interrupted):
            clock.wait(threading.Event(), None)
        signal.signal(signal.SIGUSR1, before)
        threading.Thread(target=lambda: (clock.sleep(1), woken.set())).start()
        assert not woken.wait(0.1)
    assert woken.wait(5)


def test_an_idle_thread_does_not_stop_time(clock: SimClock) -> None:
    """Within busy(), idle() lets time pass for the others until it ends."""
    passed = threading.Event()
    with clock.busy():
        threading.Thread(target=lambda: (clock.sleep(9), passed.set())).start()
        with clock.idle():
            assert passed.wait(5)
        at = clock.monotonic()
        threading.Thread(target=lambda: clock.sleep(9), daemon=True).start()  # it may never wake: the clock is closed
        assert not threading.Event().wait(0.05)
        assert clock.monotonic() == at == 9


def test_an_event_ends_a_wait_before_its_time(clock: SimClock) -> None:
    """wait() answers True at the moment at which another thread sets the event, and time has not gone further."""
    event = threading.Event()

    def ring() -> None:
        clock.sleep(3)
        event.set()

    with clock.busy():
        threading.Thread(target=ring).start()
        assert clock.wait(event, 60)
        assert clock.monotonic() == 3


def test_waiting_for_nothing_and_for_the_past(clock: SimClock) -> None:
    """A set event answers at once; no time left answers False at once."""
    event = threading.Event()
    assert not clock.wait(event, 0)
    assert not clock.wait(event, -1)
    event.set()
    assert clock.wait(event, None)
    assert clock.monotonic() == 0


def test_waiting_without_a_deadline_holds_nobody_up(clock: SimClock) -> None:
    """A thread that waits for an event alone neither stops time nor moves it."""
    event = threading.Event()
    waiting = threading.Thread(target=lambda: clock.wait(event, None))
    waiting.start()
    clock.sleep(10)
    assert clock.monotonic() == 10
    event.set()
    waiting.join(5)
    assert not waiting.is_alive()


def test_a_stalled_answer_passes_its_waiting_client(clock: SimClock) -> None:
    """stall() lets its time pass although the thread that waits for the answer is marked busy."""
    answered = threading.Event()
    with clock.busy():
        threading.Thread(target=lambda: (clock.stall(30), answered.set())).start()
        assert answered.wait(5)
        assert clock.monotonic() == 30


def test_the_clock_makes_thousands_of_jumps_a_second(clock: SimClock) -> None:
    """Threads that do nothing but wait cost next to no real time."""
    began = time.monotonic()
    threads = [threading.Thread(target=lambda pace=pace: [clock.sleep(pace) for _ in range(1000)]) for pace in (0.3, 0.7, 1.1)]
    with clock.busy():
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()
    assert clock.jumps / (time.monotonic() - began) > 1000


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.floats(0.001, 50), min_size=1, max_size=6), min_size=1, max_size=5))
def test_threads_wake_in_the_order_of_their_deadlines(plans: list[list[float]]) -> None:
    """Whatever threads sleep how long: each wakes at its own moment, and all moments come in order."""
    clock = SimClock(settle_s=0.001)
    woken: list[float] = []
    exact: list[tuple[float, float]] = []

    def live(naps: list[float]) -> None:
        due = 0.0
        with clock.busy():
            for nap in naps:
                due = clock.monotonic() + nap
                clock.sleep(nap)
                woken.append(clock.monotonic())
                exact.append((due, clock.monotonic()))

    threads = [threading.Thread(target=live, args=(plan,)) for plan in plans]
    with clock.busy():
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()
    clock.close()
    assert all(due == at for due, at in exact)
    assert woken == sorted(woken)


def test_a_fast_real_clock() -> None:
    """RealClock(100) lets a second pass in ten milliseconds, and keeps wall clock and monotonic time together."""
    clock = RealClock(100)
    began, before = time.monotonic(), clock.now()
    clock.sleep(1)
    assert 0.009 < time.monotonic() - began < 0.5
    assert (clock.now() - before).total_seconds() >= 1
    assert not clock.wait(threading.Event(), 0.5)


def test_a_clock_without_speed_is_refused() -> None:
    """A speed of zero would be for ever."""
    with pytest.raises(ValueError, match="more than zero"):
        RealClock(0)
