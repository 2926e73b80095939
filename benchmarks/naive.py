"""A straightforward service for comparison: aiomqtt's iterator, one commit and one awaited publish per message.

python naive.py PORT DATABASE
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time

import aiomqtt
import aiosqlite

FILTERS = (
    "claimsvc/u/+/v1/devices/me/claim",
    "claimsvc/u/+/v1/gateway/claim",
    "claimsvc/u/+/request/+/POST/api/customer/device/+/claim",
)
OPEN = "INSERT INTO device VALUES (?, ?, ?, NULL) ON CONFLICT (name) DO UPDATE SET key = excluded.key"
TAKE = "UPDATE device SET owner = ? WHERE name = ? AND key = ? AND owner IS NULL"


async def answer(database: aiosqlite.Connection, topic: str, payload: bytes) -> tuple[str, str]:
    """Handle one message. Return the topic and payload of its answer."""
    body = json.loads(payload)
    parts = topic.split("/")
    until = int(time.time() * 1000) + 60_000
    if "request" in parts:
        await database.execute(TAKE, (parts[2], parts[9], body["secretKey"]))
        await database.commit()
        return f"claimsvc/u/{parts[2]}/response/{parts[4]}", '{"status":200,"body":{"response":"SUCCESS"}}'
    entries = body if "gateway" in parts else {parts[2]: body}
    for name, entry in entries.items():
        await database.execute(OPEN, (name, entry["secretKey"], until))
    await database.commit()
    return f"{topic}/response", json.dumps({"status": "SUCCESS", "expirationTime": until})


async def main(port: int, path: str) -> None:
    """Serve until killed."""
    async with aiosqlite.connect(path) as database:
        await database.execute("PRAGMA journal_mode = WAL")
        await database.execute("PRAGMA synchronous = FULL")
        await database.execute(
            "CREATE TABLE IF NOT EXISTS device (name TEXT PRIMARY KEY, key TEXT, until INTEGER, owner TEXT)"
        )
        async with aiomqtt.Client(
            "127.0.0.1",
            port,
            username="claimsvc",
            password="claimsvc",
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        ) as client:
            for topic in FILTERS:
                await client.subscribe(topic, qos=1)
            print("ready", flush=True)
            async for message in client.messages:
                topic, text = await answer(database, str(message.topic), bytes(message.payload))
                await client.publish(topic, text, qos=1)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
