"""Every event of the log: its level, what it means, and the fields its line may have. A test holds the code to it."""

from __future__ import annotations

from claimsvc.immutable import immutable


@immutable
class LogEvent:
    """One kind of line. A field that is not always there is named as well."""

    levels: tuple[str, ...]
    meaning: str
    fields: tuple[str, ...] = ()


LOG_EVENTS: dict[str, LogEvent] = {
    # The life of the process.
    "started": LogEvent(("info",), "the store is open; the broker comes next", ("version", "store")),
    "stopping": LogEvent(("info",), "asked to end; the batch in hand is finished and answered"),
    "stopped": LogEvent(("info",), "all is handed over; what was not acknowledged stays with the broker"),
    # The session with the broker.
    "broker_connected": LogEvent(
        ("info",),
        "requests are heard from now on; `session_present` tells whether the broker still had our queue",
        ("session_present",),
    ),
    "broker_lost": LogEvent(("warning",), "why, and when the next try is", ("error", "retry_in_s")),
    "session_taken_over": LogEvent(("error",), "somebody connected with our client id", ("error", "retry_in_s")),
    "session_lost": LogEvent(
        ("error",),
        "the broker threw our session and its queue away: a thief, or a restart without persistence",
        ("error",),
    ),
    "subscription_downgraded": LogEvent(("warning",), "the broker grants less than QoS 1", ("filter", "granted_qos")),
    # Requests and their answers.
    "handled": LogEvent(
        ("info", "debug"),
        "a message was handled; at `debug` the poll of a new device that is refused and changes nothing",
        (
            *("lane", "principal", "command", "outcome", "reason", "detail", "device", "ms"),
            *("entries", "refused", "reasons", "answered"),
        ),
    ),
    "rate_limited": LogEvent(
        ("warning",),
        "so many `messages` of this `principal` and `command` came too often; one line for many, and no `handled` "
        "for them",
        ("principal", "command", "messages"),
    ),
    "answers_refused": LogEvent(
        ("error",),
        "so many `messages` of ours were not taken by the broker, most likely by its ACL, which must be mended: who "
        "asked hears nothing",
        ("messages",),
    ),
    "answer_too_large": LogEvent(("error",), "an answer is larger than the broker takes", ("topic", "bytes")),
    "response_topic_ignored": LogEvent(
        ("warning",), "a client asked for its answer outside its lane", ("principal",)
    ),
    "qos0_discarded": LogEvent(
        ("warning",), "more QoS 0 requests came than could be handled; how many were dropped", ("messages",)
    ),
    "internal_error": LogEvent(("error",), "a message broke us; it was answered `internal`", ("topic", "exception")),
    # The store and the broker's logins.
    "batch_failed": LogEvent(
        ("error",),
        "the store could not be written; nothing was acknowledged, it comes again",
        ("error", "messages"),
    ),
    "import_failed": LogEvent(
        ("error",),
        "a slice of a file could not be written, so many rows being `done`; the file comes again and goes on there",
        ("error", "done"),
    ),
    "sweep_failed": LogEvent(("error",), "old rows could not be removed; tried again in a minute", ("error",)),
    "logins_written": LogEvent(
        ("info",), 'Mosquitto\'s password file is new (`credentials.store = "password_file"`)', ("logins",)
    ),
    "logins_behind": LogEvent(
        ("error",),
        "the password file or the reload failed; it is tried again, and the answers that promise a login wait",
        ("error",),
    ),
    "login_left_out": LogEvent(
        ("error",), "a login of ours is in the password file already, as somebody else's", ("login",)
    ),
    "password_file_retired": LogEvent(
        ("info",), "the plugin keeps the logins now: ours were taken out of Mosquitto's password file"
    ),
}
