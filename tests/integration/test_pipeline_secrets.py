"""What a pipeline says and keeps: every message a line, no secret in any of it."""

from __future__ import annotations

from io import StringIO

from claimsvc.app import open_service
from claimsvc.log import open_log
from claimsvc.settings import CredentialStore, Settings
from tests.integration.bench import (
    CLAIM,
    KEY,
    Bench,
    answer,
    call,
    claim,
    lines,
    message,
    opened,
    statuses,
)


async def test_each_message_is_one_line_with_the_exact_reason(bench: Bench) -> None:
    """Also where the wire says FAILURE; and no line holds a secret."""
    password = b'{"username":"carol","password":"PLANTED-PASSWORD"}'
    await bench.handle(
        message(CLAIM, b'{"secretKey":"PLANTED-KEY","durationMs":60000}'),
        claim("1", b'{"secretKey":"PLANTED-GUESS"}'),
        claim("2"),
        claim("2"),
        claim("3"),
        message(CLAIM, b'{"secretKey":["PLANTED-LIST"]}'),
        message(CLAIM, b'PLANTED-GARBAGE{"'),
        call("root", "4", "POST", "claimsvc/users", password),
        call("root", "5", "POST", "api/device?accessToken=PLANTED-TOKEN", b'{"name":"d"}'),
        call("root", "6", "POST", "claimsvc/users", b'{"username":"x","PLANTED-MEMBER":1}'),
        message("claimsvc/u/device/nothing"),
        call("alice", "7", "GET", "nothing"),
    )
    handled = [line for line in lines(bench) if line["event"] == "handled"]
    said = [(line["command"], line["outcome"], line.get("reason")) for line in handled]
    assert said == [
        ("OpenWindow", "done", None),
        ("ClaimDevice", "refused", "wrong_key"),
        ("ClaimDevice", "done", None),
        ("ClaimDevice", "repeated", None),
        ("ClaimDevice", "refused", "already_claimed"),
        ("OpenWindow", "refused", "malformed"),
        ("OpenWindow", "refused", "malformed"),
        ("CreateUser", "done", None),
        ("CreateDevice", "done", None),
        ("CreateUser", "refused", "malformed"),
        ("unknown", "refused", "no_such_call"),
        ("unknown", "refused", "no_such_call"),
    ]
    assert {line["principal"] for line in handled} == {"device", "alice", "root", None}
    assert all(line["ms"] >= 0 for line in handled)
    secrets = ("PLANTED-KEY", "GUESS", "LIST", "GARBAGE", "PLANTED-PASSWORD", "PLANTED-TOKEN")
    assert [secret for secret in secrets if secret in bench.out.getvalue()] == []


async def test_no_secret_lies_in_the_files(settings: Settings) -> None:
    """Claim keys, passwords, tokens and answers that hold them are hashed or sealed, in file and WAL alike."""
    async with opened(settings) as bench:
        data = b'{"claimingData":{"secretKey":"PLANTED-SERVER-KEY","expirationTime":9000000000000}}'
        created = await bench.handle(
            message(CLAIM, KEY),
            claim("1", b'{"secretKey":"PLANTED-GUESS"}'),
            call("root", "1", "POST", "claimsvc/users", b'{"username":"c","password":"PLANTED-PASSWORD"}'),
            call("root", "2", "POST", "api/device?accessToken=PLANTED-TOKEN", b'{"name":"d"}'),
        )
        assert statuses(created) == ["SUCCESS", 400, 201, 200]
        path = f"api/plugins/telemetry/DEVICE/{answer(created[3])['body']['id']['id']}/attributes/SERVER_SCOPE"
        assert statuses(await bench.handle(call("root", "3", "POST", path, data))) == [200]
        files = [path for path in settings.store.path.parent.iterdir() if path.is_file()]
        assert settings.store.path.with_name("claimsvc.db-wal") in files
        assert [path.name for path in files if b"PLANTED" in path.read_bytes()] == []


async def test_files_have_the_modes_the_plugin_needs(settings: Settings) -> None:
    """The database is for owner and group, the key for the owner alone."""
    async with opened(settings):
        modes = {path.name: path.stat().st_mode & 0o777 for path in settings.store.path.parent.iterdir()}
    assert modes["service.key"] == 0o600
    for name in ("claimsvc.db", "claimsvc.db-wal", "claimsvc.db-shm"):
        assert modes[name] == 0o660, name


async def test_logins_of_ours_leave_the_password_file_when_the_plugin_keeps_them(settings: Settings) -> None:
    """What stayed there would let a login in that has ended; the operator's own lines stay."""
    file = settings.credentials.password_file
    async with opened(settings):
        assert "alice:" in file.read_text()
    file.write_text("operators-own:$7$1$AAAA$AAAA\n" + file.read_text())
    credentials = settings.credentials.model_copy(update={"store": CredentialStore.PLUGIN})
    with_plugin = settings.model_copy(update={"credentials": credentials})
    out = StringIO()
    async with open_service(with_plugin, open_log("info", "json", out)):
        pass
    assert "operators-own:" in file.read_text()
    assert "alice:" not in file.read_text()
    assert "password_file_retired" in out.getvalue()
    async with open_service(with_plugin, open_log("info", "json", out)):
        pass
    assert out.getvalue().count("password_file_retired") == 1
