"""The node agent's client: JSON requests and watches over one aiohttp session.

It retries by itself what a kubelet would (connection errors, 429, 5xx), and can be cut off as a whole, which is how a
lost node is played: nothing reaches the API server until `connected` is set again.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Self

import aiohttp

MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
_TOO_MANY_REQUESTS = 429
_LONGEST_PAUSE = 2.0


class ApiError(Exception):
    """The API server refused; `code` is the HTTP status, the message its words."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class ApiClient:
    """A client by a kubeconfig that holds a token and an authority's file."""

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        self.server: str = cluster["server"]
        self.connected = asyncio.Event()
        self.connected.set()
        self._tls = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self._headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}"}

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=64)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60)
        self._session = aiohttp.ClientSession(connector=connector, headers=self._headers, timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Any:
        """One request, repeated for as long as the server cannot be reached or asks to wait.

        Raises:
            ApiError: the server refused.
        """
        pause = 0.1
        headers = {"Content-Type": content_type}
        data = None if body is None else json.dumps(body)
        while True:
            await self.connected.wait()
            try:
                async with self._session.request(
                    method, self.server + path, data=data, params=params, headers=headers
                ) as response:
                    answer = await response.json(content_type=None)
                    if response.ok:
                        return answer
                    error = ApiError(response.status, str(answer.get("message", answer)))
                    if response.status != _TOO_MANY_REQUESTS and response.status < 500:
                        raise error
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def watch(self, path: str, resource_version: str, params: Mapping[str, str]) -> AsyncIterator[dict[str, Any]]:
        """The events of one watch, until the server ends it or the connection breaks.

        Raises:
            ApiError: the server ended it with an error, 410 when the version is too old.
        """
        asked = {**params, "watch": "1", "resourceVersion": resource_version, "allowWatchBookmarks": "true"}
        # Bookmarks come every minute; a watch that is silent for longer is broken.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=90)
        async with self._session.get(self.server + path, params=asked, timeout=timeout) as response:
            if not response.ok:
                raise ApiError(response.status, await response.text())
            buffered = b""
            async for chunk in response.content.iter_any():
                *lines, buffered = (buffered + chunk).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    await self.connected.wait()
                    if event["type"] == "ERROR":
                        raise ApiError(event["object"].get("code", 500), event["object"].get("message", ""))
                    yield event
