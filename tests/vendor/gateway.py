"""What a user of ThingsBoard's client writes for a gateway. Waits for its session limits.

python gateway.py PORT TOKEN DEVICE KEY DURATION_MS [DEVICE KEY DURATION_MS ...]
"""

from __future__ import annotations

import logging
import sys
import time

from tb_gateway_mqtt import TBGatewayMqttClient

logging.basicConfig(level=logging.INFO, stream=sys.stderr)
port, token, *claims = sys.argv[1:]
client = TBGatewayMqttClient("127.0.0.1", int(port), username=token)
client.connect()
for device, key, duration_ms in zip(claims[::3], claims[1::3], claims[2::3], strict=True):
    print("claimed", client.gw_claim(device, key, int(duration_ms)).get(), flush=True)
deadline = time.monotonic() + 10
while not client.rate_limits_received and time.monotonic() < deadline:
    time.sleep(0.01)  # the client has no event for it
print("limits", client.rate_limits_received, flush=True)
client.disconnect()
