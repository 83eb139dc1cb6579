"""Exports that a person makes and uses: made with their token, waited for, reached, and read on whatever happens to them meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import EXPORT, PVC, SECRET
from migrate.model import labels
from migrate.model.clock import Clock
from migrate.model.errors import Refused, Stalled, Taken, Unreachable, UsageError
from migrate.model.exports import Seen, Source, Subject
from migrate.model.objects import Object, dig, leaving, name_of, uid_of
from migrate.reading.export import Links, ended, links_of
from migrate.reading.exports import differences, see, subject_of, token_of, words_of
from migrate.rendering import exports as rendering
from migrate.steps import exporting
from migrate.transfer.answers import Changed, Denied
from migrate.transfer.export_client import ExportClient, NotTrusted
from migrate.workflow import export_state, export_tokens, passing
from migrate.workflow.export_reach import NO_WAY_IN, Approach, not_reached

LOOK_S = 1.0
TELL_S = 10.0
"""After so many seconds the same words are said again: silence never lasts."""
RETRIES = 6
_MADE_ANEW = 3
"""An export that goes so often before it is ready is somebody's business."""
T = TypeVar("T")
__all__ = ["RETRIES", "Approach", "Exports", "Missing", "Open", "Wish"]


class Missing(UsageError):
    """There is no export of that name."""


@dataclass(frozen=True, slots=True)
class Wish:
    """An export to be made."""

    subject: Subject
    ttl: timedelta | None = None
    token_secret: str = ""
    """A Secret of the user's; "" = one is made."""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    passing: str = ""
    """It is made for the download of that name and goes with it; "" = it stays, also one that was made for a download before."""


@dataclass(frozen=True, slots=True)
class Open:
    """A ready export that can be read."""

    export: Object
    links: Links
    token: str = field(repr=False)
    client: ExportClient

    @property
    def facts(self) -> tuple[object, ...]:
        """What another try would do just the same with."""
        return (uid_of(self.export), self.token, self.links)


class Exports:
    """The exports of one namespace."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster, self._clock = cluster, clock

    def every(self) -> list[Seen]:
        """List them by name."""
        claims = {one["metadata"]["name"]: one for one in self._cluster.list(PVC)}
        found = self._cluster.list(EXPORT)
        return sorted((see(one, claims, now=self._clock.now()) for one in found), key=lambda one: one.name)

    def one(self, name: str) -> Seen:
        """Look at one. Raises UsageError when there is none."""
        export = self._found(name)
        claims = {claim: found for claim in _claims(export) if (found := self._cluster.get(PVC, claim)) is not None}
        return see(export, claims, now=self._clock.now())

    def create(self, name: str, wish: Wish, *, tell: Callable[[str], None] = lambda _: None) -> tuple[Object, bool]:
        """Make an export and its token, or complete what an earlier try made. Return it, and whether it is new.

        One that is there and not as wished is left as it is: it may be another's, who is not asked.
        Raises Taken when there is one of that name of something else, UsageError for a token Secret that is not there or a missing source,
        Stalled when what an earlier export of that name left does not go.
        """
        found = self._cluster.get(EXPORT, name)
        if found is not None and not leaving(found) and subject_of(found) != wish.subject:
            raise self._taken(name, found)
        self._check(wish)
        if found is not None and (leaving(found) or _over(found, now=self._clock.now())):
            self._gone(name, found)
            found = None
        if found is None:
            new = rendering.export(
                name,
                self._cluster.namespace,
                wish.subject,
                version=self._cluster.served_version(EXPORT),
                token_secret=wish.token_secret or export_tokens.name_for(name),
                ttl=wish.ttl,
                labels=wish.labels,
                annotations={**wish.annotations, **({labels.PASSING: passing.mark([wish.passing])} if wish.passing else {})},
            )
            export: Object = self._cluster.create(new, there_ok=True)[0]
            if subject_of(export) != wish.subject:
                raise self._taken(name, export)
        else:
            export = found if wish.passing or self.unlike(found, wish) else passing.keep(self._cluster, found)
        if not wish.token_secret and token_of(export) == export_tokens.name_for(name):
            export_tokens.make(self._cluster, self._clock, export, tell=tell)
        return export, found is None

    def unlike(self, export: Object, wish: Wish) -> tuple[str, ...]:
        """Say in what an export that was there is not as wished; none of that can be changed in one that is made."""
        return differences(export, ttl=wish.ttl, token_secret=wish.token_secret, labels=wish.labels, annotations=wish.annotations)

    def delete(self, name: str) -> bool:
        """Remove an export; its server, its token and what was restored for it go with it. Tell whether there was one."""
        found = self._cluster.get(EXPORT, name)
        if found is not None:
            self._cluster.delete(EXPORT, name, uid=uid_of(found))
        return found is not None

    def leave(self, name: str, uid: str, reader: str, *, remove: bool | None = None, through: bool = True) -> str:
        """End a download; see `passing.leave`."""
        return passing.leave(self._cluster, name, uid, reader, remove=remove, through=through)

    def ready(self, name: str, approach: Approach, *, patience: timedelta, tell: Callable[[str], None]) -> Open:
        """Wait until an export is ready and can be reached, and say meanwhile what it waits for. Raises Stalled, UsageError, Blocked."""
        began, said, at = self._clock.monotonic(), "", 0.0
        while True:
            export = self._found(name)
            links = links_of(export, inside=approach.inside)
            token = export_tokens.of(self._cluster, export, token_of(export))
            users = export_state.users(self._cluster, export, links.volumes) if links is not None else ""
            if links is not None and token and not users:
                client = approach.client(self._cluster, self._clock, name, links, token, tell=tell)
                return Open(export, links, token, client)
            now, words = self._clock.monotonic(), words_of(export, now=self._clock.now())
            if users:
                words = f"in use: {users}; what is read meanwhile would be no disk"
            elif links is not None:
                words = f"its token is not there: Secret {token_of(export) or '(none named)'}"
            elif links_of(export, inside=True) is not None:
                words = NO_WAY_IN
            if now - began > patience.total_seconds():
                raise not_reached(self._cluster, name, words, patience)
            if words != said or now - at >= TELL_S:
                tell(f"export {name}: {words}")
                said, at = words, now
            self._clock.sleep(LOOK_S)

    def reading(
        self,
        name: str,
        approach: Approach,
        read: Callable[[Open], T],
        *,
        again: Wish | None,
        reader: str = "",
        patience: timedelta,
        retries: int = RETRIES,
        tell: Callable[[str], None],
        moved: Callable[[], int] = lambda: 0,
    ) -> T:
        """Let `read` read an export, and again where it broke: another pod, token, certificate or export is found by looking anew.

        `again`: what to make the export of once it is gone. `reader`: name of this download, written on an export that was made for one,
        so that nobody takes it away meanwhile. `moved`: bytes so far; `retries` tries in a row without any are the end.
        What changed meanwhile is read anew, as long as tries last. What is not there (404) is asked for once more, and not again unless the
        export has changed. What the cluster itself refuses ends it. Raises what `read` raises in the end.
        """
        tries, anew, before, missing = 0, 0, moved(), tuple[object, ...]()
        while True:
            opened = self._opened(name, approach, again=again, patience=patience, tell=tell)
            try:
                if passing.joins(self._cluster, opened.export, reader):
                    return read(opened)
                tell(f"export {name} changed; looking at it anew")
            except Changed as changed:
                anew += 1
                if anew > retries:
                    raise
                tell(f"export {name}: {changed.what}, so it is read anew: {changed.why}")
            except (Refused, NotTrusted, Unreachable) as error:
                status = error.status if isinstance(error, Refused) else 0
                ours = isinstance(error, Denied) and status in (401, 403, 404) and not (status == 404 and opened.facts == missing)
                if status and not ours:
                    raise
                missing = opened.facts if status == 404 else missing
                tries = 1 if moved() > before else tries + 1
                before = moved()
                if tries > retries:
                    raise
                tell(f"export {name}: {error.why or error.what}; looking at it anew")
            finally:
                opened.client.close()
            self._clock.sleep(min(2.0**tries, 30.0))

    def _opened(self, name: str, approach: Approach, *, again: Wish | None, patience: timedelta, tell: Callable[[str], None]) -> Open:
        """Wait until an export is ready; one that is gone, or goes meanwhile, is made anew if that is wished."""
        for left in reversed(range(_MADE_ANEW)):
            try:
                return self.ready(name, approach, patience=patience, tell=tell)
            except Missing:
                if again is None or not left:
                    raise
                lost = "; what was read of the claim is read again" if again.subject.source is Source.PVC else ""
                tell(f"export {name} is gone: its time was over (--ttl gives it more), or somebody removed it; it is made anew{lost}")
                self.create(name, again, tell=tell)
        raise AssertionError("the last try returns or raises")

    def begin(self, opened: Open, claim: str) -> tuple[str, Callable[[], bool]]:
        """Return the state that a volume is in, and what tells later whether it still is.

        A download that is gone on with must be of the very same; see `export_state`.
        Raises Changed while somebody else has the volume, or it is gone.
        """
        state = export_state.state(self._cluster, opened.export, claim)
        # Whoever has it now may have it at the end: the state would be the same, and the bytes would not.
        if not state or export_state.users(self._cluster, opened.export, [claim]):
            raise Changed(f"export {name_of(opened.export)}, {claim}")
        return state, lambda: export_state.state(self._cluster, opened.export, claim) == state

    def _found(self, name: str) -> Object:
        export = self._cluster.get(EXPORT, name)
        if export is None:
            raise Missing(
                f"there is no export {name}",
                where=f"{self._cluster.context}, namespace {self._cluster.namespace}",
                why="it was never made, was deleted, or its time to live ended",
                now="list them: migrate export list; make one: migrate export create, or download with --vm, --snapshot or --pvc",
            )
        return export

    def _taken(self, name: str, found: Object) -> Taken:
        return Taken(
            f"there is an export {name} already, of {subject_of(found) or 'something else'}",
            where=f"{self._cluster.context}, namespace {self._cluster.namespace}",
            now=f"choose another name, or remove it: migrate export delete {name}",
        )

    def _check(self, wish: Wish) -> None:
        """Say at once what would leave the export pending for ever."""
        subject, secret = wish.subject, wish.token_secret
        if self._cluster.get(export_state.KINDS[subject.source], subject.name) is None:
            raise UsageError(f"there is no {subject}", where=f"{self._cluster.context}, namespace {self._cluster.namespace}")
        if secret and not exporting.secret_text(self._cluster.get(SECRET, secret)):
            raise UsageError(
                f"Secret {secret} holds no token",
                where="--token-secret",
                why="it is not there, or has no key `token`",
                now="create it with the key `token`, or leave the option out: one is made",
            )

    def _gone(self, name: str, found: Object) -> None:
        """See an export off that is on its way out, so that it can be made anew."""
        if not leaving(found):
            self._cluster.delete(EXPORT, name, uid=uid_of(found))
        end = self._clock.monotonic() + 60
        while self._cluster.get(EXPORT, name) is not None:
            if self._clock.monotonic() > end:
                raise Stalled(f"export {name} is being deleted and does not go", where=self._cluster.context, now="see its finalizers")
            self._clock.sleep(LOOK_S)


def _over(export: Object, *, now: datetime) -> bool:
    """Tell whether an export's time is over and KubeVirt serves it no more. While it is ready our clock may be wrong."""
    return ended(export, now=now) and dig(export, "status", "phase") != "Ready"


def _claims(export: Object) -> tuple[str, ...]:
    return tuple(links.volumes) if (links := links_of(export, inside=True)) is not None else ()
