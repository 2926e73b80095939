"""Options: what is written decides, and a broker does not start on half of what was meant."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import MakeSite
from tests.plugin.test_lanes import DENIED, NO_SUBSCRIBERS
from tests.support.clients import CLAIM
from tests.support.plugin import Site

BAD: dict[str, tuple[dict[str, object], str]] = {
    "no store": ({"store": ""}, "plugin_opt_store is missing"),
    "an unknown option": ({"stor": "x"}, "unknown option plugin_opt_stor"),
    "a root with a wildcard": ({"root": "a/#"}, "plugin_opt_root"),
    "an answer as a request": ({"user_topics": f"{CLAIM}/response"}, "plugin_opt_user_topics"),
    "a wildcard inside": ({"client_topics": "s/+/ucr"}, "plugin_opt_client_topics"),
    "a bad number": ({"max_failures": "many"}, "plugin_opt_max_failures"),
    "an endless window": ({"failure_window_s": 0}, "plugin_opt_failure_window_s"),
    "the service without a password": ({"open_logins": "claimsvc"}, "plugin_opt_open_logins"),
}


@pytest.mark.parametrize(("options", "words"), BAD.values(), ids=BAD.keys())
def test_the_broker_does_not_start_with(options: dict[str, object], words: str, make_site: MakeSite) -> None:
    """And says in one line what is wrong."""
    site = make_site()
    site.options |= options
    if not options.get("store", "x"):
        del site.options["store"]
    site.write_conf()
    with pytest.raises(AssertionError):
        site.broker.start()
    assert [line for line in site.broker.log.splitlines() if words in line]
    assert len(site.log) == 1


def test_the_plugin_is_loaded_once(make_site: MakeSite) -> None:
    """Twice would be two tables of who is there."""
    site = make_site()
    with (site.directory / "mosquitto.conf").open("a") as conf:
        conf.write(f"plugin {site.plugin}\nplugin_opt_store {site.store}\n")
    with pytest.raises(AssertionError):
        site.broker.start()
    assert len(site.log) == 1
    assert "loaded twice" in site.log[0]


def test_all_options_count(make_site: MakeSite) -> None:
    """Root, user and topics of the operator's own."""
    site = make_site(
        root="their/root",
        service_username="servant",
        user_topics="up/+ alone",
        client_topics="s/ucr",
        open_logins="guest bootstrap provision",
        token_key="{}",
    )
    key = site.directory / "elsewhere.key"
    key.write_text(site.key.hex())
    site.options["token_key"] = key
    site.write_conf()
    with (site.directory / "acl").open("a") as acl:
        acl.write("\nuser servant\ntopic readwrite their/root/#\n")
    site.start()
    site.add_password("servant", "password")
    site.add_token("token", "Device A")
    with (
        site.peer("servant", "password", client_id="claimsvc-" + "0" * 32) as servant,
        site.peer("token") as device,
        site.peer("guest") as guest,
        site.peer("provision") as provision,
        site.peer("bootstrap", client_id="boot-1") as bootstrap,
    ):
        servant.subscribe("their/root/#")
        assert device.says("up/1") == device.says("alone") == bootstrap.says("s/ucr") == 0
        assert guest.says("alone") == guest.says("s/ucr") == DENIED
        assert provision.says("/provision/request") == DENIED  # not among the topics here
        topics = [servant.receive().topic for _ in range(3)]
        assert topics == [
            "their/root/u/Device A/up/1",
            "their/root/u/Device A/alone",
            "their/root/c/bootstrap/boot-1/s/ucr",
        ]
        assert device.says(CLAIM) == NO_SUBSCRIBERS  # a topic like any other here
        servant.publish(f"their/root/u/Device A/{CLAIM}/state", b"x")
        assert device.receive().topic == f"{CLAIM}/state"


def test_listeners_with_settings_of_their_own(make_site: MakeSite) -> None:
    """Early Mosquitto 2.0 does not tell plugins there when its loop turns: then nobody gets in, as the log says."""
    site = make_site()
    conf = site.directory / "mosquitto.conf"
    conf.write_text(f"per_listener_settings true\n{conf.read_text()}")
    site.start()
    site.add_password("device", "password")
    admitted = site.admits("device", "password")
    told = any("set per_listener_settings to false" in line for line in site.log)
    assert admitted != told
    assert admitted or site.admits("foreign", "password") is False


def test_the_order_of_lines_does_not_matter(make_site: MakeSite) -> None:
    """The plugin is asked before the files, wherever it stands."""
    site = make_site()
    conf = site.directory / "mosquitto.conf"
    lines = conf.read_text().splitlines()
    files = [line for line in lines if line.startswith(("acl_file", "password_file"))]
    plugin = [line for line in lines if line.startswith("plugin")]
    rest = [line for line in lines if line not in files + plugin]
    for order in (files + plugin, plugin + files):
        conf.write_text("\n".join(rest + order) + "\n")
        site.broker.start()
        works(site)
        site.broker.stop()


def works(site: Site) -> None:
    """See the plugin's word count against the files'."""
    with site.service() as service, site.peer("bootstrap", "password", client_id="+") as device:
        assert device.says("s/ucr") == 0
        assert service.receive().topic == "claimsvc/c/bootstrap/%2B/s/ucr"
        assert not device.asks_for("s/ucr")
