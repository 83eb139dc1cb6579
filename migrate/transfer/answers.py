"""What a host of an export may answer, and what is to be said of everything else."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from migrate.model.errors import Blocked, Refused
from migrate.transfer.patience import AGAIN, Interrupted
from migrate.transfer.ranges import Range

NOBODY_KNOWS = (
    "its VM was started or changed, its export was made anew, or the server of a claim was replaced: nobody knows who wrote to a claim "
    "meanwhile"
)


class Changed(Blocked):
    """What is read is not in the state any more in which it was begun. What came so far may be of two states, and is thrown away."""

    def __init__(self, where: str, *, now: str = "run the same again: it is read anew") -> None:
        super().__init__(
            "the disk changed, or may have changed, while it was read",
            where=where,
            why=NOBODY_KNOWS,
            now=now,
        )


class Denied(Refused):
    """The host of an export answered with a status that is no answer. The API server's refusals are none of these."""


def host_of(url: str) -> str:
    """Return host and port of a URL."""
    return urlsplit(url).netloc


def https(url: str) -> str:
    """Return a URL. Raises Refused unless it is https."""
    if urlsplit(url).scheme != "https":
        raise Refused("a link of the export is not https", where=url, now="the token would go over the wire in the open; fix the link")
    return url


def check_answer(status: int, content_range: str, part: Range, *, of: int, url: str) -> None:
    """See that an answer is the range that was asked for, of a disk of that size. Raises Interrupted, Refused."""
    if status in AGAIN:
        raise Interrupted(f"status {status}")
    if status != 206:
        raise refused("a disk could not be read", url, status)
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", content_range)
    if found is None or (int(found[1]), int(found[2]) + 1) != (part.start, part.stop):
        raise Refused("the export host answered another range than was asked for", where=url, why=f"Content-Range: {content_range}")
    if int(found[3]) != of:
        raise Refused("a disk has another size than before", where=url, why=f"{found[3]} bytes, was {of}", now="see who changes it")


def refused(what: str, url: str, status: int) -> Denied:
    """Return the error for a status, with what to do about it."""
    match status:
        case 401 | 403:
            now = "the token in the Secret is not the one that the export server knows; run the same again"
        case 404:
            now = "the export or its volume is gone; run the same again"
        case 200:
            now = "something between here and the export server drops ranges or lengths; take it out of the way"
        case _:
            now = "ask the export host's logs"
    return Denied(what, where=url, why=f"status {status}", now=now, status=status)
