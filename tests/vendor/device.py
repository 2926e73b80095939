"""What a user of ThingsBoard's client writes. Waits for its session limits.

python device.py PORT TOKEN KEY DURATION_MS
"""

from __future__ import annotations

import logging
import sys
import time

from tb_device_mqtt import TBDeviceMqttClient

logging.basicConfig(level=logging.INFO, stream=sys.stderr)
port, token, key, duration_ms = sys.argv[1:]
client = TBDeviceMqttClient("127.0.0.1", int(port), username=token)
client.connect()
print("claimed", client.claim(secret_key=key, duration=int(duration_ms)).get(), flush=True)
deadline = time.monotonic() + 10
while not client.rate_limits_received and time.monotonic() < deadline:
    time.sleep(0.01)  # the client has no event for it
print("limits", client.rate_limits_received, client.max_payload_size, flush=True)
client.disconnect()
