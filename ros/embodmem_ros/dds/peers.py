"""Which endpoints of a service's two topics belong together, as rmw_cyclonedds tells by their user data."""

from __future__ import annotations

import time
from typing import Any

_WAIT_S = 0.1
_STEP_S = 0.002


def told_by(endpoint: Any, key: str) -> str | None:
    """What an endpoint's user data ("clientid=1.f.10;typehash=RIHS01_...;") says of a key; None where it says nothing.

    Args:
        endpoint: What Cyclone tells of a matched endpoint; None when it has gone.
        key: "clientid", "serviceid" or "typehash".
    """
    from cyclonedds.core import Policy

    policy = None if endpoint is None else endpoint.qos[Policy.Userdata]
    text = "" if policy is None else bytes(policy.data).decode("ascii", "replace")
    pairs = (part.partition("=") for part in text.split(";"))
    return next((value for name, _, value in pairs if name == key), None)


def await_reply_reader(requests: Any, replies: Any, source: int) -> bool:
    """Wait until a reply can reach the client that sent a request.

    Requests and replies are two topics, discovered apart: a request may come before its client's reader of replies is
    known here, and a reply written then would be lost. `rmw_send_response` waits as long, for the same reason.

    Args:
        requests: The service's reader of requests.
        replies: The service's writer of replies.
        source: Handle of the client's writer, from the request's sample.

    Returns:
        Whether there is such a reader; True for a client that names none.
    """
    client = told_by(requests.get_matched_publication_data(source), "clientid")
    if client is None:
        return True
    end = time.monotonic() + _WAIT_S
    while True:
        known = (replies.get_matched_subscription_data(handle) for handle in replies.get_matched_subscriptions())
        if any(told_by(endpoint, "clientid") == client for endpoint in known):
            return True
        if time.monotonic() > end:
            return False
        time.sleep(_STEP_S)
