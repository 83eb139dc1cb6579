"""Orders for trouble: who is hit, how often, and what is refused."""

from __future__ import annotations

import pytest

from migrate.lab.trouble import ACTIONS, FACTS, BadOrder, Trouble, parse


def test_an_order_hits_what_it_names() -> None:
    """Facts are matched as file names are; a fact that the place does not know is no match; other places are never hit."""
    trouble = Trouble()
    trouble.set("export", "drop", after="2Mi", volume="data*")
    assert trouble.find("export", volume="disk") is None
    assert trouble.find("export", namespace="shop") is None
    assert trouble.find("proxy", volume="data-2") is None
    found = trouble.find("export", volume="data-2", namespace="shop")
    assert found is not None
    assert (found.action, found.count("after"), found.number("seconds", 7), found.text("message", "-")) == ("drop", 2 << 20, 7, "-")


def test_an_order_is_used_up() -> None:
    """`times` counts the hits; without it the order stands until it is cleared."""
    trouble = Trouble()
    twice = trouble.set("api", "refuse", times=2)
    assert [trouble.find("api") is twice for _ in range(3)] == [True, True, False]
    assert twice.used == 2
    always = trouble.set("api", "refuse")
    assert all(trouble.find("api") is always for _ in range(5))
    trouble.clear(always)
    assert trouble.find("api") is None


def test_a_part_asks_only_for_what_it_can_do() -> None:
    """An order with another action is not used up by a part that cannot follow it."""
    trouble = Trouble()
    order = trouble.set("node", "evict", times=1)
    assert trouble.find("node", "delay", "refuse") is None
    assert trouble.find("node", "evict") is order


def test_listeners_hear_new_orders() -> None:
    """Parts that act at once are told of every new order."""
    trouble = Trouble()
    heard: list[str] = []
    trouble.listen(lambda order: heard.append(f"{order.where} {order.action}"))
    trouble.set("node", "evict")
    assert heard == ["node evict"]
    assert [row["id"] for row in trouble.orders()] == [1]
    trouble.forget(1)
    assert trouble.orders() == []


def test_a_place_that_is_not_there_is_refused() -> None:
    """Where nobody would follow an order, it is refused with the reason."""
    trouble = Trouble({"api": "the API server is the real one"})
    with pytest.raises(BadOrder, match="at 'api' here: the API server is the real one"):
        trouble.set("api", "refuse")
    assert trouble.orders() == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("moon", "drop", {}), "known places: api"),
        (("api", "explode", {}), "it can: delay, drop"),
        (("api", "delay", {"colour": "red"}), "it knows: seconds, method"),
        (("api", "delay", {"seconds": "long"}), "seconds='long' is not a number"),
        (("api", "delay", {"times": "0"}), "not a whole number above zero"),
    ],
)
def test_nonsense_is_refused(words: tuple[str, str, dict[str, str]], complaint: str) -> None:
    """What no part of the lab could follow is an error that lists what is known."""
    with pytest.raises(BadOrder, match=complaint):
        parse(*words)


def test_arguments_and_facts_do_not_share_names() -> None:
    """A word of an order is either an argument or a match, never both."""
    for where, actions in ACTIONS.items():
        for arguments in actions.values():
            assert not set(arguments) & {*FACTS[where], "times"}
