"""A walk through any OSCQuery server by the proposal alone: it knows nothing of AutoVoice.

`python tests/control/oscquery_walk.py http://127.0.0.1:8080` prints what it found; `problems` lists each breach of the proposal
(https://github.com/Vidvox/OSCQueryProposal, third revision).
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

TAGS = {"i": int, "h": int, "f": (int, float), "d": (int, float), "s": str, "S": str, "c": str, "T": bool, "F": bool}
VALUELESS = "NIbm"
PER_VALUE = ("VALUE", "RANGE", "UNIT", "CLIPMODE", "EXTENDED_TYPE")
KNOWN = {*PER_VALUE, "FULL_PATH", "CONTENTS", "TYPE", "ACCESS", "DESCRIPTION", "TAGS", "CRITICAL", "OVERLOADS"}


@dataclass
class Walk:
    """What was found."""

    url: str
    host: dict[str, Any] = field(default_factory=dict)
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def methods(self) -> list[str]:
        return [path for path, node in self.nodes.items() if "TYPE" in node]

    def readable(self, tag: str) -> list[str]:
        return [path for path in self.methods if self.nodes[path]["TYPE"] == tag and self.nodes[path].get("ACCESS", 3) == 3]

    async def run(self, session: aiohttp.ClientSession) -> Walk:
        """Start at HOST_INFO, read the tree in one piece, then every node by itself."""
        self.host = await self._get(session, "/?HOST_INFO")
        self._check(isinstance(self.host.get("EXTENSIONS"), dict), "HOST_INFO has no EXTENSIONS")
        self._check(self.host.get("OSC_TRANSPORT", "UDP") in ("UDP", "TCP"), "OSC_TRANSPORT is neither UDP nor TCP")
        self._take(await self._get(session, "/"), "/")
        for path, node in list(self.nodes.items()):
            await self._look(session, path, node)
        await self._errors(session)
        return self

    async def _get(self, session: aiohttp.ClientSession, target: str) -> Any:
        async with session.get(self.url + target) as response:
            self._check(response.status == 200, f"{target}: {response.status}")
            self._check(response.content_type == "application/json", f"{target}: {response.content_type}")
            return await response.json()

    def _check(self, held: bool, problem: str) -> None:
        if not held:
            self.problems.append(problem)

    def _take(self, node: dict[str, Any], path: str) -> None:
        """Check a node and what it contains."""
        self.nodes[path] = node
        self._check(node.get("FULL_PATH") == path, f"{path}: FULL_PATH is {node.get('FULL_PATH')!r}")
        self._check(node.get("ACCESS", 3) in range(4), f"{path}: ACCESS is {node.get('ACCESS')!r}")
        self._check(not set(node) - KNOWN, f"{path}: unknown {set(node) - KNOWN}")
        extensions = self.host.get("EXTENSIONS", {})
        for name in set(node) - {"FULL_PATH", "CONTENTS", "TYPE"}:
            self._check(extensions.get(name) is True, f"{path}: {name} is not among the EXTENSIONS")
        self._check_values(path, node)
        for other in node.get("OVERLOADS", []):
            self._check_values(f"{path} overload", other)
        for name, inner in node.get("CONTENTS", {}).items():
            self._take(inner, f"{path.rstrip('/')}/{name}")

    def _check_values(self, path: str, node: dict[str, Any]) -> None:
        types = node.get("TYPE")
        if types is None:
            self._check(not set(node) & set(PER_VALUE), f"{path}: values without a TYPE")
            return
        self._check(all(tag in TAGS or tag in VALUELESS for tag in types), f"{path}: TYPE {types!r}")
        for name in PER_VALUE:
            if name in node:
                self._check(isinstance(node[name], list) and len(node[name]) == len(types), f"{path}: {name} for {types!r}")
        for k, value in enumerate(node.get("VALUE", [])):
            tag = types[k]
            right = isinstance(value, TAGS[tag]) if tag in TAGS else value is None
            self._check(right and not (isinstance(value, bool) and tag in "ifhd"), f"{path}: {value!r} is no {tag!r}")
            bounds = (node.get("RANGE") or [None] * len(types))[k] or {}
            self._check("MIN" not in bounds or bounds["MIN"] <= value, f"{path}: {value!r} is below {bounds}")
            self._check("MAX" not in bounds or value <= bounds["MAX"], f"{path}: {value!r} is above {bounds}")
            self._check("VALS" not in bounds or value in bounds["VALS"], f"{path}: {value!r} is not in {bounds}")
        self._check(set(node.get("CLIPMODE", [])) <= {"none", "low", "high", "both", None}, f"{path}: CLIPMODE")

    async def _look(self, session: aiohttp.ClientSession, path: str, node: dict[str, Any]) -> None:
        """Ask for a node by itself, and for its attributes one by one: the same must come back."""
        alone = await self._get(session, path)
        steady = {k for k in node if k not in ("VALUE", "CONTENTS")}
        self._check({k: alone.get(k) for k in steady} == {k: node[k] for k in steady}, f"{path}: differs when asked for alone")
        for name in ("TYPE", "RANGE"):
            expected = {name: node[name]} if name in node else {}
            self._check(await self._get(session, f"{path}?{name}") == expected, f"{path}?{name}")
        async with session.get(f"{self.url}{path}?VALUE") as response:
            may_read = node.get("ACCESS", 3) & 1
            self._check(response.status == (200 if may_read else 204), f"{path}?VALUE: {response.status}")

    async def _errors(self, session: aiohttp.ClientSession) -> None:
        for target, status in (("/no/such/node", 404), ("/?NO_SUCH_ATTRIBUTE", 400)):
            async with session.get(self.url + target) as response:
                self._check(response.status == status, f"{target}: {response.status}, not {status}")


class Listening:
    """The WebSocket: LISTEN, IGNORE and what comes of it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def say(self, command: str, address: str) -> None:
        await self._socket.send_json({"COMMAND": command, "DATA": address})

    async def send(self, address: str, *arguments: Any) -> None:
        builder = OscMessageBuilder(address)
        for argument in arguments:
            builder.add_arg(argument)
        await self._socket.send_bytes(builder.build().dgram)

    async def next(self, timeout_s: float = 60.0) -> tuple[str, Any]:
        """Return the next OSC message as (address, arguments), or a command as (its name, data)."""
        message = await self._socket.receive(timeout=timeout_s)
        if message.type == aiohttp.WSMsgType.BINARY:
            osc = OscMessage(message.data)
            return osc.address, osc.params
        assert message.type == aiohttp.WSMsgType.TEXT, message
        said = json.loads(message.data)
        return said["COMMAND"], said["DATA"]


async def main(url: str) -> int:
    """Walk and print."""
    async with aiohttp.ClientSession() as session:
        walk = await Walk(url.rstrip("/")).run(session)
    print(json.dumps(walk.host, indent=2))
    print(f"{len(walk.nodes)} nodes, {len(walk.methods)} methods, {len(walk.problems)} problems")
    print(*walk.problems, sep="\n")
    return bool(walk.problems)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
