"""Fixtures of the plugin's tests: one broker for those that only talk to it, and brokers of a test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import fresh
from tests.support.peers import Peer, Play
from tests.support.plugin import Site, build_plugin, running


@pytest.fixture(scope="session")
def plugin_path() -> Path:
    """The plugin, built once."""
    return build_plugin()


@pytest.fixture(scope="session")
def site(plugin_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A broker that many tests share; each makes logins of its own."""
    with running(Site(tmp_path_factory.mktemp("site"), plugin_path, max_failures=5).prepare()) as site:
        yield site


MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(plugin_path: Path, tmp_path: Path) -> Iterator[MakeSite]:
    """Make a site of a test's own: prepared, not started, stopped in the end."""
    with ExitStack() as stack:

        def make(*, with_store: bool = True, **options: Any) -> Site:
            site = Site(tmp_path, plugin_path, **options).prepare(with_store=with_store)
            stack.callback(site.stop)
            return site

        yield make


Join = Callable[..., Peer]


@pytest.fixture
def join(site: Site) -> Iterator[Join]:
    """Connect to the shared site: `join("alice")` with a login made now, `join(token=...)` with an access token."""
    with ExitStack() as stack:

        def join(stem: str | None = None, *, known: bool = False, token: str | None = None, **options: Any) -> Peer:
            if token is not None:
                principal = fresh(stem or "device")
                site.add_token(token, principal)
                peer = site.peer(token, **options)
            elif known or stem is None:
                peer = site.peer(principal := stem or "", "password", **options)
            else:
                principal = fresh(stem)
                site.add_password(principal, "password")
                peer = site.peer(principal, "password", **options)
            peer.username = principal
            return stack.enter_context(peer)

        yield join


@pytest.fixture
def service(site: Site) -> Iterator[Play]:
    """The service at the shared site, played by the test."""
    with site.service() as service:
        yield service
