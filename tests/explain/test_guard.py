"""What stands before the page."""

import asyncio

import pytest

from deepfake_lit.explain.guard import Guard


def response(method: str, headers: list[tuple[bytes, bytes]]) -> tuple[int, dict[bytes, bytes]]:
    """Return the status and headers of an answer to a request, of which the app itself would say 200."""
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Cache-Control", b"public")]})
        await send({"type": "http.response.body", "body": b""})

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "headers": headers}
    asyncio.run(Guard(app, 1000)(scope, None, send))
    return sent[0]["status"], dict(sent[0]["headers"])


def test_a_browser_is_told_to_load_nothing_from_elsewhere():
    status, headers = response("GET", [])
    assert status == 200
    policy = headers[b"content-security-policy"].decode()
    assert "default-src 'self'" in policy
    assert "http:" not in policy
    assert "*" not in policy
    assert [value for key, value in headers.items() if key.lower() == b"cache-control"] == [b"no-store"]


@pytest.mark.parametrize(
    ("length", "status"), [(b"1000", 200), (b"1001", 413), (b"-1", 413), (b"1e3", 413), (None, 411)]
)
def test_what_is_sent_is_bounded(length, status):
    assert response("POST", [(b"content-length", length)] if length else [])[0] == status
