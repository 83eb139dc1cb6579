"""Works: threads that can be seen, cancelled and begun again."""

from __future__ import annotations

import threading

from migrate.steps.work import Work, Works

KEY = ("id", "step", "disk")


def test_a_work_shows_its_progress_and_result() -> None:
    """Bytes while it runs, the result when it has ended, and whoever waits is woken."""
    ended, go = threading.Event(), threading.Event()
    works = Works(ended)

    def run(work: Work) -> str:
        work.moved(5)
        go.wait(10)
        work.moved(5)
        return "result"

    work = works.start(KEY, run, bytes_total=10)
    assert works.start(KEY, run) is work, "a running work is not begun twice"
    go.set()
    assert ended.wait(10)
    work.join(10)
    assert (work.bytes_done, work.result, work.error, work.running) == (10, "result", None, False)


def test_a_cancelled_work_ends_at_its_next_step() -> None:
    """Neither result nor error; it is forgotten."""
    works, begun = Works(), threading.Event()

    def run(work: Work) -> None:
        begun.set()
        while True:
            work.moved(1)

    work = works.start(KEY, run)
    assert begun.wait(10)
    works.cancel("id")
    assert not work.running
    assert (work.result, work.error, works.get(KEY)) == (None, None, None)


def test_what_a_work_raises_is_kept_and_the_next_is_another_attempt() -> None:
    """An error is not lost, and attempts are counted until the work is dropped."""
    works = Works()

    def run(work: Work) -> None:
        raise ValueError("words")

    for attempt in (1, 2):
        work = works.start(KEY, run)
        work.join(10)
        assert (str(work.error), work.attempt) == ("words", attempt)
    works.drop(KEY)
    assert works.start(KEY, run).attempt == 1
