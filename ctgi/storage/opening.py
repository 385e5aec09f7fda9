"""Which store a URL names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ctgi.errors import CtgiError
from ctgi.storage.folder import FolderStore
from ctgi.storage.store import KEY, Store


def open_store(url: str, patience: float | None = None) -> Store:
    """The store at `url`: `s3://bucket/prefix`, `file:///folder` or the path of a folder.

    The endpoint and the credentials of S3 come from the environment or a file, see
    `ctgi.storage.s3_settings`.

    Args:
        patience: for who will not wait as long as the settings say, in seconds.

    Raises:
        CtgiError: the URL is of another kind, carries a secret, or settings for S3 are missing.
    """
    parts = urlsplit(url)
    if parts.scheme == "s3":
        if parts.username or parts.password:  # and do not repeat it
            raise CtgiError(
                "the store's URL carries credentials; take them out and set CTGI_S3_ACCESS_KEY and "
                "CTGI_S3_SECRET_KEY, or CTGI_S3_CREDENTIALS_FILE"
            )
        prefix = parts.path.strip("/")
        if not parts.netloc or parts.query or parts.fragment or (prefix and not KEY.fullmatch(prefix)):
            raise CtgiError(f"{url}: not an S3 store; write s3://bucket or s3://bucket/prefix")
        from ctgi.storage.s3 import S3Store  # minio is not needed for folders
        from ctgi.storage.s3_settings import read_settings

        settings = read_settings()
        if patience is not None:
            settings = replace(settings, patience=min(patience, settings.patience))
        return S3Store(parts.netloc, prefix, settings)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise CtgiError(f"{url}: not a folder; write file:///absolute/path")
        return _folder(Path(unquote(parts.path)))
    if "://" in url or not url:
        raise CtgiError(f"{url or 'an empty text'}: no store; name s3://bucket/prefix or a folder")
    return _folder(Path(url))


def _folder(root: Path) -> FolderStore:
    if root.exists() and not root.is_dir():
        raise CtgiError(f"{root}: is a file, no store; name s3://bucket/prefix or a folder")
    return FolderStore(root)
