"""What a user of ThingsBoard's client writes to provision devices, all at the same time. Prints the answers in order.

python provision.py PORT KEY SECRET OPTIONS [OPTIONS ...]    each a JSON object of options of provision()
"""

from __future__ import annotations

import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor

from tb_device_mqtt import TBDeviceMqttClient

logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
port, key, secret, *options = sys.argv[1:]


def provision(text: str) -> object:
    """Return the answer to one request, None for a failure."""
    return TBDeviceMqttClient.provision("127.0.0.1", key, secret, int(port), **json.loads(text))


with ThreadPoolExecutor(len(options)) as pool:
    print(json.dumps(list(pool.map(provision, options))), flush=True)
