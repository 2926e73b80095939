from __future__ import annotations

import pytest
from hypothesis import given as examples
from hypothesis import strategies as some

from claimsvc.app import policy_of
from claimsvc.core.names import login_error, name_error, principal_name, tenant_error
from claimsvc.credentials.password_file import fits
from claimsvc.settings import Settings

POLICY = policy_of(Settings.model_validate({"credentials": {"store": "password_file"}}))


@pytest.mark.parametrize(
    "name",
    ["a", "Test Claiming Device", "x" * 255, "a/b", "a+b#c", "ä€😀", "a%2Fb", "d:x", " padded ", "$SYS", "."],
)
def test_usable_names(name: str) -> None:
    """A device may be named as in ThingsBoard, with blanks and signs."""
    assert name_error(name) is None


@pytest.mark.parametrize(
    ("name", "word"),
    [
        pytest.param("", "empty", id="nothing"),
        pytest.param("x" * 256, "longer than 255", id="too long"),
        pytest.param("a\0b", "U+0000", id="a null"),
        pytest.param("a\nb", "U+000A", id="a line feed"),
        pytest.param("a\x7fb", "U+007F", id="delete"),
        pytest.param("a\x85b", "U+0085", id="a control character above ASCII"),
        pytest.param("a\ud800b", "U+D800", id="half a surrogate pair"),
        pytest.param("a\ufdd0b", "U+FDD0", id="the first noncharacter"),
        pytest.param("a\ufffeb", "U+FFFE", id="a noncharacter"),
        pytest.param("a\U0010ffffb", "U+10FFFF", id="the last noncharacter"),
    ],
)
def test_unusable_names(name: str, word: str) -> None:
    """A name that would disconnect whoever publishes it is refused, and the text says why."""
    error = name_error(name)
    assert error is not None
    assert word in error


@pytest.mark.parametrize("name", ["", " a", "a ", "bootstrap", "a:b", "a\nb", "x" * 256])
def test_logins_that_are_not_issued(name: str) -> None:
    """Padded, reserved and unstorable logins are refused."""
    assert login_error(name, POLICY) is not None


@examples(some.text(min_size=1, max_size=20))
def test_every_login_issued_can_be_stored(name: str) -> None:
    """A name that passes as a login fits the password file."""
    principal = principal_name("default", name, POLICY)
    assert login_error(principal, POLICY) is not None or fits(principal)


@pytest.mark.parametrize(
    "name",
    ["no\u00a0break", "zero\u200bwidth", "line\u2028end", "👩\u200d🚀"],
    ids=["a no-break space", "a zero-width space", "a line separator", "an astronaut"],
)
def test_logins_the_password_file_leaves_out_are_not_issued(name: str) -> None:
    """A name that cannot stand in a line of the file is refused rather than told and left out."""
    assert not fits(name)
    assert login_error(name, POLICY) is not None


@pytest.mark.parametrize("tenant", ["default", "a", "A-1_b.c", "9", "x" * 64])
def test_usable_tenant_ids(tenant: str) -> None:
    """Letters, digits, dot, dash and underscore."""
    assert tenant_error(tenant) is None


@pytest.mark.parametrize("tenant", ["", ".a", "-a", "a/b", "a%2Fb", "ä", "a b", "a\n", "x" * 65])
def test_unusable_tenant_ids(tenant: str) -> None:
    """Nothing that could be read as something else in a principal or topic."""
    assert tenant_error(tenant) is not None


@pytest.mark.parametrize(
    ("tenant", "name", "principal"),
    [
        ("default", "alice", "alice"),
        ("default", "a/b", "a%2Fb"),
        ("default", "a%2Fb", "a%252Fb"),
        ("default", "a+b#c", "a%2Bb%23c"),
        ("default", "é\x85", "é%C2%85"),
        ("acme", "alice", "acme%2Falice"),
        ("acme", "a/b", "acme%2Fa%2Fb"),
    ],
)
def test_principal_is_one_level(tenant: str, name: str, principal: str) -> None:
    """Level separators, wildcards, percent and control characters are encoded."""
    assert principal_name(tenant, name, POLICY) == principal


NAMES = some.text("ab/%2F+#.", min_size=1, max_size=6)


@examples(NAMES, NAMES, some.sampled_from(["default", "acme"]))
def test_principals_of_a_tenant_differ(one: str, another: str, tenant: str) -> None:
    """Two names of a tenant never come to the same principal, which is always one level."""
    principals = {principal_name(tenant, name, POLICY) for name in (one, another)}
    assert len(principals) == len({one, another})
    assert not any(set("/+#") & set(principal) for principal in principals)
