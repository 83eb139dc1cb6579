"""References as users write them: CONTEXT:NAMESPACE/NAME and its shorter forms, with contexts that hold colons and slashes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.model.errors import UsageError
from migrate.model.refs import Place, VMRef, parse_place, parse_ref

ARN = "arn:aws:eks:eu-1:123:cluster/x"
OPENSHIFT = "default/api-x:6443/kube:admin"
CONTEXTS = ["east", "west", ARN, OPENSHIFT, "east:shop"]
SOURCE = VMRef("east", "shop", "db-1")


def source(text: str, current: str | None = "east") -> VMRef:
    return parse_ref(text, contexts=CONTEXTS, current=current, namespace_of={"east": "stage", "west": "default"}.__getitem__)


def target(text: str, current: str | None = "east") -> VMRef:
    return parse_ref(text, contexts=CONTEXTS, current=current, namespace_of=lambda _: "never asked", source=SOURCE)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("west:shop/db-1", VMRef("west", "shop", "db-1")),
        ("shop/db-1", VMRef("east", "shop", "db-1")),
        ("db-1", VMRef("east", "stage", "db-1")),
        (f"{ARN}:shop/db-1", VMRef(ARN, "shop", "db-1")),
        (f"{OPENSHIFT}:shop/db-1", VMRef(OPENSHIFT, "shop", "db-1")),
        ("east:shop:mall/db.with.dots", VMRef("east:shop", "mall", "db.with.dots")),
    ],
)
def test_sources(text: str, wanted: VMRef) -> None:
    """A source names a VM; what it leaves out is the current context and that context's namespace."""
    assert source(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("west:mall/db-2", VMRef("west", "mall", "db-2")),
        ("west:mall", VMRef("west", "mall", "db-1")),
        ("west", VMRef("west", "shop", "db-1")),
        (ARN, VMRef(ARN, "shop", "db-1")),
        (OPENSHIFT, VMRef(OPENSHIFT, "shop", "db-1")),
        (f"{OPENSHIFT}:mall", VMRef(OPENSHIFT, "mall", "db-1")),
        ("east:shop", VMRef("east:shop", "shop", "db-1")),
        ("mall/db-2", VMRef("east", "mall", "db-2")),
        ("db-2", VMRef("east", "shop", "db-2")),
    ],
)
def test_targets(text: str, wanted: VMRef) -> None:
    """A target takes what it leaves out from the source; a word that is a known context is that context, colons and all."""
    assert target(text) == wanted


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("nope:shop/db", '"nope"'),
        ("arn:aws:eks:eu-1:123:cluster/y", '"arn:aws:eks:eu-1:123"'),
        ("east:", "namespace is empty"),
        ("east:/db", "namespace is empty"),
        ("east:shop/", "VM name is empty"),
        (":shop/db", "context before the colon is empty"),
        ("east:a/b/c", '"a/b"'),
        ("a/b/c", '"a/b"'),
        ("east:Shop/db", '"Shop"'),
        ("shop/db_1", '"db_1"'),
        ("shop/-db", '"-db"'),
        ("shop/db.", '"db."'),
        ("a.b/db", '"a.b"'),
        ("shop/" + "x" * 254, "longer than 253"),
        ("x" * 64 + "/db", "longer than 63"),
        ("shop/d\u0431", "small letters"),
        ("shop/db\n", "small letters"),
    ],
)
def test_malformed_references_are_usage_errors(text: str, word: str) -> None:
    """What cannot be read is refused in four words, as a source and as a target."""
    for read in (source, target):
        with pytest.raises(UsageError) as caught:
            read(text)
        error = caught.value
        assert word in f"{error.what} {error.why}"
        assert error.where
        assert error.now


def test_an_unknown_context_lists_the_known_ones() -> None:
    """The error names every context of the kubeconfig and the nearest one."""
    with pytest.raises(UsageError) as caught:
        target("wset:shop")
    assert all(context in caught.value.why for context in CONTEXTS)
    assert 'did you mean "west"' in caught.value.now


@pytest.mark.parametrize("text", ["west", "east:shop", ARN])
def test_a_source_must_name_a_vm(text: str) -> None:
    """A context alone is no source, whatever it looks like."""
    with pytest.raises(UsageError, match="names no VM") as caught:
        source(text)
    assert "NAME" in caught.value.now


def test_a_namespace_alone_is_no_source() -> None:
    """CONTEXT:NAMESPACE is no source, and the remedy repeats it."""
    with pytest.raises(UsageError, match="names no VM") as caught:
        source("west:shop")
    assert caught.value.now == "write west:shop/NAME"


def test_a_mistyped_context_is_not_taken_for_a_vm() -> None:
    """A bare target word near a context would move the VM within the current cluster; it must be written out."""
    with pytest.raises(UsageError, match="mistyped"):
        target("wests")
    assert target("shop/wests") == VMRef("east", "shop", "wests")


def test_without_a_current_context_it_must_be_named() -> None:
    """NAMESPACE/NAME needs a current context."""
    for read in (source, target):
        with pytest.raises(UsageError, match="names no context") as caught:
            read("shop/db-1", None)
        assert caught.value.now == "write CONTEXT:shop/db-1"


def test_places() -> None:
    """`status --target` takes a context with or without a namespace."""
    assert parse_place("west", contexts=CONTEXTS) == Place("west")
    assert parse_place("west:shop", contexts=CONTEXTS) == Place("west", "shop")
    assert parse_place("east:shop", contexts=CONTEXTS) == Place("east:shop")
    for text in ("nope", "west:shop/db", "shop/db", "nope:shop"):
        with pytest.raises(UsageError):
            parse_place(text, contexts=CONTEXTS)


words = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
contexts = st.one_of(
    st.sampled_from([ARN, OPENSHIFT, "a:b", "a/b", "a:b/c", "gke_x_y_z", "admin@prod", "::", "/", "a:"]),
    st.text("abc:/@_.-", min_size=1, max_size=12),
)


@given(contexts, words, words, st.lists(contexts, max_size=3))
def test_round_trip(context: str, namespace: str, name: str, others: list[str]) -> None:
    """A full reference reads back as itself, whatever the context is called, unless the whole text happens to be a context."""
    ref = VMRef(context, namespace, name)
    known = [context, *others]
    if str(ref) in known:
        return
    assert parse_ref(str(ref), contexts=known, current=None, namespace_of=str) == ref
    assert parse_ref(str(ref), contexts=known, current=None, namespace_of=str, source=SOURCE) == ref


@given(contexts, words)
def test_round_trip_of_places(context: str, namespace: str) -> None:
    """So does CONTEXT:NAMESPACE, and a bare context always is that context."""
    text = f"{context}:{namespace}"
    assert parse_ref(text, contexts=[context], current=None, namespace_of=str, source=SOURCE) == VMRef(context, namespace, "db-1")
    assert parse_ref(context, contexts=[context], current="east", namespace_of=str, source=SOURCE) == VMRef(context, "shop", "db-1")
    assert parse_place(text, contexts=[context]) == Place(context, namespace)


@given(st.text(max_size=40))
def test_any_text_is_a_reference_or_a_usage_error(text: str) -> None:
    """No text makes it fall over."""
    for given_source in (None, SOURCE):
        try:
            ref = parse_ref(text, contexts=CONTEXTS, current="east", namespace_of=lambda _: "ns", source=given_source)
        except UsageError:
            continue
        else:
            assert ref.context in CONTEXTS


def test_a_command_about_a_vm_names_where_it_is() -> None:
    """Context and namespace stand in it, in words that a shell takes as one: the VM on the other side may have the same name."""
    assert VMRef("east", "shop", "web").virtctl("stop") == "virtctl --context east -n shop stop web"
    assert VMRef("adm in/x:6443", "shop", "web").virtctl("start") == "virtctl --context 'adm in/x:6443' -n shop start web"
