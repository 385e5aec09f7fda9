"""A store that is a bucket, or a prefix in one, of any server that speaks S3: through the `minio` SDK."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import random
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import certifi
import urllib3
from minio import Minio
from minio.credentials.credentials import Credentials
from minio.credentials.providers import Provider

from ctgi.errors import CtgiError
from ctgi.storage.digest import CHUNK, Beside, bytes_sha256, checked, damaged, file_sha256
from ctgi.storage.part import part_of
from ctgi.storage.s3_errors import conflict, spoken
from ctgi.storage.s3_patience import Patience
from ctgi.storage.s3_settings import S3Settings, Secrets, read_settings
from ctgi.storage.store import AlreadyThere, Entry, NotThere, Progress, check_key

PART = 16 << 20  # bytes of a multipart upload's parts, three of which are on their way at once
_SHA256, _PUT = "x-amz-meta-sha256", "x-amz-meta-put"


class S3Store:
    """See `ctgi.storage.store.Store`. Threads may share one."""

    def __init__(self, bucket: str, prefix: str = "", settings: S3Settings | None = None) -> None:
        """Nothing is sent yet.

        Raises:
            CtgiError: settings are missing or cannot be used.
        """
        self.bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""
        self._settings = settings or read_settings()
        self._client = _connect(self._settings)

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self._prefix}".removesuffix("/")

    def put(
        self,
        key: str,
        source: Path | bytes,
        *,
        only_if_absent: bool = False,
        sha256: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        try:
            if isinstance(source, bytes):
                data = source
            elif only_if_absent or source.stat().st_size <= PART:
                data = source.read_bytes()
            else:
                self._put_in_parts(key, source, sha256 or file_sha256(source), progress)
                return
        except OSError as error:
            raise CtgiError(
                f"{source!s}: cannot be read ({error.strerror}); check the path and its rights"
            ) from error
        digest = bytes_sha256(data)
        if sha256 is not None and digest != sha256:
            raise _changed(key)
        if only_if_absent:
            self._create(key, data, digest)
        else:
            with spoken(self.url, key):
                self._client.put_object(
                    self.bucket, self._name(key), io.BytesIO(data), len(data), metadata={"sha256": digest}
                )
        if progress is not None:
            progress(len(data))

    def stat(self, key: str) -> Entry | None:
        try:
            return self._head(key)[0]
        except NotThere:
            return None

    def exists(self, key: str) -> bool:
        return self.stat(key) is not None

    def chunks(self, key: str, *, sha256: str | None = None) -> Iterator[bytes]:
        entry, etag = self._head(key)
        yield from checked(self._stream(entry, etag, 0), sha256 or entry.sha256, f"{self.url}/{key}")

    def read(self, key: str, *, sha256: str | None = None) -> bytes:
        return b"".join(self.chunks(key, sha256=sha256))

    def get(
        self, key: str, path: Path, *, sha256: str | None = None, progress: Progress | None = None
    ) -> None:
        entry, etag = self._head(key)
        expected = sha256 or entry.sha256
        with part_of(path, f"{etag}-{entry.size}") as handle:
            total = Beside()
            handle.seek(0)
            while chunk := handle.read(CHUNK):  # what an earlier call has brought
                total.update(chunk)
                if progress is not None:
                    progress(len(chunk))
            for chunk in self._stream(entry, etag, handle.tell()):
                total.update(chunk)
                handle.write(chunk)
                if progress is not None:
                    progress(len(chunk))
            found = total.hexdigest()
            if expected is not None and found != expected:
                raise damaged(f"{self.url}/{key}", found, expected)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        full = self._prefix + (f"{check_key(prefix.removesuffix('/'))}/" if prefix else "")
        with spoken(self.url, prefix):
            for found in self._client.list_objects(self.bucket, prefix=full, recursive=True):
                key = (found.object_name or "").removeprefix(self._prefix)
                if not found.is_dir and not f"/{key}".count("/."):
                    yield Entry(key, found.size or 0, found.last_modified or datetime.now(UTC))

    def delete(self, key: str) -> None:
        try:
            with spoken(self.url, key):
                self._client.remove_object(self.bucket, self._name(key))
        except NotThere:
            pass

    def abandoned(self, older_than: timedelta) -> Iterator[tuple[str, Callable[[], None]]]:
        limit = datetime.now(UTC) - older_than
        # The SDK has these two calls for its own use only.
        client: Any = self._client
        with spoken(self.url, "uploads"):
            found = client._list_multipart_uploads(self.bucket, prefix=self._prefix).uploads
        for upload in found:
            if upload.initiated_time is not None and upload.initiated_time < limit:
                name, number = upload.object_name, upload.upload_id

                def remove(name: str = name, number: str = number) -> None:
                    with spoken(self.url, name):
                        client._abort_multipart_upload(self.bucket, name, number)

                yield name.removeprefix(self._prefix), remove

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _head(self, key: str) -> tuple[Entry, str]:
        with spoken(self.url, key):
            found = self._client.stat_object(self.bucket, self._name(key))
        headers = found.metadata or {}
        recorded = next((value for name, value in headers.items() if name.lower() == _SHA256), None)
        modified = found.last_modified or datetime.now(UTC)
        return Entry(key, found.size or 0, modified, recorded), found.etag or ""

    def _put_in_parts(self, key: str, path: Path, digest: str, progress: Progress | None) -> None:
        before = path.stat()
        with path.open("rb") as handle, spoken(self.url, key):
            self._client.put_object(
                self.bucket,
                self._name(key),
                handle,
                before.st_size,
                metadata={"sha256": digest},
                part_size=PART,
                progress=_Progress(progress) if progress is not None else None,
            )
        after = path.stat()
        if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
            self.delete(key)
            raise _changed(key)

    def _create(self, key: str, data: bytes, digest: str) -> None:
        """Put under the condition that nothing is there.

        A put that was carried out but whose answer got lost is repeated and then finds the key taken, by
        itself: it knows itself by a number that it carries.
        """
        number = uuid.uuid4().hex
        # By it a server knows a body that was cut short: SeaweedFS keeps an empty object of a writer that was
        # killed between head and body, and under this condition nobody could ever put it right.
        checksum = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        client: Any = self._client  # put_object takes no condition
        end = time.monotonic() + self._settings.patience
        while True:
            try:
                with spoken(self.url, key):
                    headers = {"If-None-Match": "*", _SHA256: digest, _PUT: number, "Content-MD5": checksum}
                    client._put_object(self.bucket, self._name(key), data, headers)
                return
            except AlreadyThere:
                with spoken(self.url, key):
                    there = self._client.stat_object(self.bucket, self._name(key)).metadata or {}
                if number in there.values():
                    return
                raise
            except CtgiError as error:
                if not conflict(error) or time.monotonic() > end:  # another one is creating it right now
                    raise
                time.sleep(random.uniform(0.05, 0.3))

    def _stream(self, entry: Entry, etag: str, offset: int) -> Iterator[bytes]:
        """The content from `offset` on; a connection that breaks is made again where it broke."""
        end = time.monotonic() + self._settings.patience
        pause = 0.0
        while offset < entry.size:
            response = None
            broken: Exception | None = None
            try:
                response = self._open(entry.key, etag, offset)
                for chunk in response.stream(CHUNK):
                    offset += len(chunk)
                    end, pause = time.monotonic() + self._settings.patience, 0.0
                    yield chunk
            except urllib3.exceptions.HTTPError as error:
                broken = error
            finally:
                if response is not None:
                    response.close()
                    response.release_conn()
            if offset < entry.size:
                if time.monotonic() > end:
                    raise CtgiError(
                        f"{self.url}/{entry.key}: the connection kept breaking; run the same command again "
                        "to continue"
                    ) from broken
                time.sleep(pause)
                pause = min(8.0, pause * 2 + 0.2)

    def _open(self, key: str, etag: str, offset: int) -> urllib3.BaseHTTPResponse:
        try:
            with spoken(self.url, key):
                response = self._client.get_object(
                    self.bucket, self._name(key), offset=offset, request_headers={"If-Match": f'"{etag}"'}
                )
        except AlreadyThere as error:  # the precondition: it is no longer what it was
            raise CtgiError(f"{self.url}/{key}: was replaced while it was read; read it again") from error
        if offset and response.status != 206:
            response.close()
            raise CtgiError(f"{self.url}/{key}: the server gives no parts of objects; use another one")
        return response


class _Provider(Provider):
    def __init__(self, secrets: Callable[[], Secrets]) -> None:
        self._secrets = secrets

    def retrieve(self) -> Credentials:
        found = self._secrets()
        return Credentials(found.access, found.secret, found.token)


class _Progress:
    """What the SDK calls a progress: it is told of every piece that was read for sending."""

    def __init__(self, call: Progress) -> None:
        self._call = call

    def set_meta(self, object_name: str, total_length: int) -> None:
        pass

    def update(self, length: int) -> None:
        self._call(length)


def _connect(settings: S3Settings) -> Minio:
    http = urllib3.PoolManager(
        # A silent server is given up a little before patience ends, so that one more try fits in.
        timeout=urllib3.Timeout(connect=min(10.0, settings.patience), read=min(60.0, settings.patience)),
        maxsize=16,
        cert_reqs="CERT_REQUIRED",
        ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        retries=Patience.of(settings.patience),
    )
    try:
        client = Minio(
            settings.endpoint,
            secure=settings.secure,
            region=settings.region,
            credentials=_Provider(settings.secrets),
            http_client=http,
        )
    except ValueError as error:
        raise CtgiError(f"CTGI_S3_ENDPOINT={settings.endpoint}: {error}; write host:port") from error
    return client


def _changed(key: str) -> CtgiError:
    return CtgiError(f"{key}: its source changed while it was sent; start again")
