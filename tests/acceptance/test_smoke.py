from tests.conftest import Connect


def test_a_device_opens_a_window_and_a_customer_claims_and_releases_it(connect: Connect) -> None:
    """The main job, end to end."""
    device, customer = connect("device"), connect("customer")
    device.subscribe(device.lane("v1/devices/me/claim/state"))
    assert device.open_window({"secretKey": "value", "durationMs": 60000})["status"] == "SUCCESS"
    assert customer.claim("device").body["response"] == "SUCCESS"
    assert customer.claim("device").body == "CLAIMED"
    assert customer.release("device").body == {"result": {}, "setOrExpired": True}
