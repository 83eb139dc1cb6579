"""When a call to an API server is tried again: the one place that decides it.

Causes are explicit; nothing else is ever retried:

* the connection could not be made, or broke before the whole answer was read (`Failure.again`);
* 429 and 503, after the time in Retry-After if one is given;
* 500, 502 and 504;
* 403 of the authorizer within seconds of a broken connection: an API server that starts anew answers before it has read its roles.

What a replay does, verb by verb, when the first attempt had been carried out and only its answer was lost:

* get, list, apply, access reviews: the same result again.
* delete: the second answer is 404, which means "absent" and is what was asked. With a uid precondition it cannot hit a successor.
* patch: ours carry a `test` of metadata.resourceVersion, so the replay fails that test and shows as Conflict; the caller looks afresh.
* replace: carries resourceVersion; the replay shows as Conflict, too.
* create: the replay answers AlreadyExists. `Cluster.create` then reads the object back and takes it for ours if it carries our mark and
  id, or, without a mark, if it holds all that we sent. With generateName nobody can tell, so it is not repeated.
* other calls (start, stop, ...): repeated only if the first attempt surely was not carried out (policy SURE).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from migrate.model.clock import Clock
from migrate.model.errors import MigrateError

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")
log = logging.getLogger("migrate.kube")
first = logging.getLogger("migrate.kube.contact")
"""Shown on every screen: silence at the first contact looks like a hang."""

LONGEST_ORDER_S = 30.0
"""Longest Retry-After that we obey; a longer one is the same as "come back another time"."""


class PassingError(Exception):
    """Inside this room only: an attempt failed for a cause that may pass. `error` is what the caller gets if it does not."""

    def __init__(self, error: MigrateError, *, cause: str, after_s: float | None = None, sent: bool = False) -> None:
        super().__init__(cause)
        self.error = error
        self.cause = cause
        self.after_s = after_s
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Policy:
    """How often, how long apart, and how long in all. Waits are seconds; the last one repeats."""

    name: str
    waits_s: tuple[float, ...]
    attempts: int
    total_s: float
    after_sent: bool = True
    """Whether to try again when the first attempt may have been carried out."""


# Waits between attempts: 0.5, 1, 2, 4, 8 s, so a short restart of an API server (about 10 s) goes unnoticed.
READ = Policy("read", (0.5, 1.0, 2.0, 4.0, 8.0), attempts=6, total_s=60.0)
# Waits: 0.5, 1, 2, 4 s. Shorter than READ: the engine looks again anyway before it writes again.
WRITE = Policy("write", (0.5, 1.0, 2.0, 4.0), attempts=5, total_s=45.0)
# Waits as WRITE, but only when the request surely was not carried out.
SURE = Policy("sure", (0.5, 1.0, 2.0, 4.0), attempts=5, total_s=45.0, after_sent=False)
# Waits: 0.5, 1, 1.5 s, or one connection that times out: a server that nobody here has reached yet is rather a wrong address or a closed
# VPN than a restart, and somebody waits at the keyboard. Takes the place of any other policy until a connection was made.
CONTACT = Policy("contact", (0.5, 1.0, 1.5), attempts=4, total_s=10.0)
# No wait: for streams, whose owner (the bell) has a back-off of its own.
ONCE = Policy("once", (0.0,), attempts=1, total_s=0.0)


def with_retries(
    policy: Policy, attempt: Callable[[], T], *, clock: Clock, action: str, context: str, reached: Callable[[], bool] = lambda: True
) -> T:
    """Run `attempt` under a policy. Raise the error inside the last `PassingError`, or whatever else `attempt` raises, at once.

    Until `reached` says that a connection was made, the policy is CONTACT (unless it is ONCE), and every failure is told at once.
    """
    from tenacity import Retrying, retry_if_exception

    began = clock.monotonic()

    def now() -> Policy:
        return policy if policy is ONCE or reached() else CONTACT

    def wait(state: RetryCallState) -> float:
        passing = _problem(state)
        waits_s = now().waits_s
        usual = waits_s[min(state.attempt_number, len(waits_s)) - 1]
        return usual if passing.after_s is None else max(passing.after_s, 0.0)

    def stop(state: RetryCallState) -> bool:
        passing = _problem(state)
        too_long = clock.monotonic() - began + wait(state) > now().total_s
        return state.attempt_number >= now().attempts or too_long or (passing.after_s or 0.0) > LONGEST_ORDER_S

    def note(state: RetryCallState) -> None:
        (log if reached() else first).warning(
            "context %s: %s: attempt %d of %d failed (%s); next in %.1f s",
            context,
            action,
            state.attempt_number,
            now().attempts,
            _problem(state).cause,
            wait(state),
        )

    def worth_it(problem: BaseException) -> bool:
        return isinstance(problem, PassingError) and (policy.after_sent or not problem.sent)

    try:
        return Retrying(retry=retry_if_exception(worth_it), wait=wait, stop=stop, sleep=clock.sleep, before_sleep=note, reraise=True)(
            attempt
        )
    except PassingError as passing:
        raise passing.error from passing.__cause__


def _problem(state: RetryCallState) -> PassingError:
    problem = state.outcome.exception() if state.outcome else None
    assert isinstance(problem, PassingError)
    return problem
