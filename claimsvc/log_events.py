"""All events of the log: level, meaning and possible fields. A test compares the code with this table."""

from __future__ import annotations

from claimsvc.immutable import immutable


@immutable
class LogEvent:
    """One kind of log line. `fields` includes those that are not always present."""

    levels: tuple[str, ...]
    meaning: str
    fields: tuple[str, ...] = ()


LOG_EVENTS: dict[str, LogEvent] = {
    # The life of the process.
    "started": LogEvent(
        ("info",), "the store is open; the service connects to the broker next", ("version", "store")
    ),
    "stopping": LogEvent(("info",), "a signal to stop was received; the current batch is finished and answered"),
    "stopped": LogEvent(("info",), "all answers are sent; requests that were not acknowledged stay on the broker"),
    # The session with the broker.
    "broker_connected": LogEvent(
        ("info",),
        "the service receives requests from now on; `session_present`: the broker had kept the session and its queue",
        ("session_present",),
    ),
    "broker_lost": LogEvent(
        ("warning",), "the connection was lost or could not be opened: reason and next try", ("error", "retry_in_s")
    ),
    "session_taken_over": LogEvent(
        ("error",), "another client connected with the service's client id", ("error", "retry_in_s")
    ),
    "session_lost": LogEvent(
        ("error",),
        "the broker has deleted the service's session and its queue: another client took it over, or the broker "
        "restarted without persistence",
        ("error",),
    ),
    "subscription_downgraded": LogEvent(
        ("warning",), "the broker granted a lower QoS than 1", ("filter", "granted_qos")
    ),
    # Requests and their answers.
    "handled": LogEvent(
        ("info", "debug"),
        "a message was handled; level `debug`: the refused poll of a new device, which changes nothing",
        (
            *("lane", "principal", "command", "outcome", "reason", "detail", "device", "ms"),
            *("entries", "refused", "reasons", "answered"),
        ),
    ),
    "rate_limited": LogEvent(
        ("warning",),
        "requests of this `principal` and `command` came too fast and were refused; one line for `messages` "
        "requests, which have no `handled` lines",
        ("principal", "command", "messages"),
    ),
    "answers_refused": LogEvent(
        ("error",),
        "the broker refused this many `messages` of the service, and the clients got no answer; fix the ACL, the "
        "most likely cause",
        ("messages",),
    ),
    "answer_too_large": LogEvent(("error",), "an answer is larger than the broker accepts", ("topic", "bytes")),
    "response_topic_ignored": LogEvent(
        ("warning",), "a client requested its answer outside its lane", ("principal",)
    ),
    "qos0_discarded": LogEvent(
        ("warning",),
        "QoS 0 requests came faster than they could be handled; `messages` of them were discarded",
        ("messages",),
    ),
    "internal_error": LogEvent(
        ("error",),
        "a bug: handling the message raised an exception; the client got the answer `internal`",
        ("topic", "exception"),
    ),
    # The store and the broker's logins.
    "batch_failed": LogEvent(
        ("error",),
        "the database could not be written; nothing was acknowledged, and the broker delivers the messages again",
        ("error", "messages"),
    ),
    "import_failed": LogEvent(
        ("error",),
        "a part of a file could not be written after `done` rows; the broker delivers the file again, and the import "
        "continues there",
        ("error", "done"),
    ),
    "sweep_failed": LogEvent(("error",), "old rows could not be deleted; the next try is in a minute", ("error",)),
    "logins_written": LogEvent(
        ("info",), 'Mosquitto\'s password file was written (`credentials.store = "password_file"`)', ("logins",)
    ),
    "logins_behind": LogEvent(
        ("error",),
        "writing the password file or reloading the broker failed; it is retried, and answers that contain a login "
        "wait for it",
        ("error",),
    ),
    "login_left_out": LogEvent(
        ("error",),
        "a login was not written: the password file has an entry of this name that claimsvc did not write",
        ("login",),
    ),
    "password_file_retired": LogEvent(
        ("info",), "the plugin keeps the logins now: claimsvc's entries were removed from Mosquitto's password file"
    ),
}
