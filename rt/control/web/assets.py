"""The page's files, served from memory: a look into a table, so no path can leave the folder."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

TYPES = {".js": "text/javascript", ".webmanifest": "application/manifest+json", ".woff2": "font/woff2"}
GZIP_FROM = 1024  # bytes; below, it does not pay


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is sent."""

    body: bytes
    packed: bytes | None  # gzip, where that is shorter
    content_type: str
    etag: str
    changed_ns: int


class Assets:
    """The files of one folder by their path in it; a file that changed is read again."""

    def __init__(self, folder: Path) -> None:
        """List the folder; files that come later are not served."""
        self._files = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
        self._loaded: dict[str, Asset] = {}

    def get(self, name: str) -> Asset | None:
        """Return a file, None where there is none of this name."""
        path = self._files.get(name)
        if path is None or path.suffix == ".py":
            return None
        try:
            changed_ns = path.stat().st_mtime_ns
            asset = self._loaded.get(name)
            if asset is None or asset.changed_ns != changed_ns:
                asset = self._loaded[name] = _read(path, changed_ns)
        except OSError:
            return None
        return asset

    def answer(self, request: web.Request, name: str) -> web.Response:
        """Return the response for a file: compressed where the client takes that, 304 where it has it already."""
        asset = self.get(name)
        if asset is None:
            raise web.HTTPNotFound
        headers = {"ETag": asset.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding, Accept"}
        if asset.etag in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        if asset.packed is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
        body = asset.packed if "Content-Encoding" in headers else asset.body
        charset = "utf-8" if asset.content_type.startswith("text/") else None
        return web.Response(body=body, content_type=asset.content_type, charset=charset, headers=headers)


def _read(path: Path, changed_ns: int) -> Asset:
    body = path.read_bytes()
    packed = gzip.compress(body, 6, mtime=0) if len(body) >= GZIP_FROM else body
    kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    tag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
    return Asset(body, packed if len(packed) < len(body) else None, kind, tag, changed_ns)
