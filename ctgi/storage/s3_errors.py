"""What an S3 server or the way to it has to complain about, in one line with a remedy and without secrets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree import ElementTree

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError, MaxRetryError

from ctgi.errors import CtgiError
from ctgi.storage.store import AlreadyThere, NotThere

_DENIED = {
    "AccessDenied": "the key has no right to do this; give it list, read, write and delete rights there",
    "InvalidAccessKeyId": "the store does not know the access key; check CTGI_S3_ACCESS_KEY or the "
    "credentials file",
    "SignatureDoesNotMatch": "the store does not accept the secret; check CTGI_S3_SECRET_KEY or the "
    "credentials file",
    "ExpiredToken": "the store says that the session token has expired; get a new one",
    "RequestTimeTooSkewed": "the store has a clock that is far from this machine's; set the time",
}
_FULL = {"XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "XMinioAdminBucketQuotaExceeded"}


@contextmanager
def spoken(url: str, key: str) -> Iterator[None]:
    """Turn the SDK's errors within the block into CtgiError.

    Raises:
        NotThere: there is no such object. AlreadyThere: a precondition failed. CtgiError: anything else.
    """
    try:
        yield
    except S3Error as error:
        raise _refused(url, key, error) from error
    except (InvalidResponseError, ServerError) as error:
        raise _answered(url, getattr(error, "status_code", None) or getattr(error, "_code", None)) from error
    except ElementTree.ParseError as error:
        raise _answered(url, None) from error
    except ValueError as error:  # the SDK's, of a bucket or a key; its message names no secret
        raise CtgiError(f"{url}: {error}; name another bucket or prefix") from error
    except (HTTPError, MinioException) as error:
        cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
        raise CtgiError(
            f"{url}: the store cannot be reached ({type(cause).__name__}); check CTGI_S3_ENDPOINT and the "
            "network, then run the same command again to continue"
        ) from error


def conflict(error: CtgiError) -> bool:
    """Whether the server said that another conditional write of the same key is under way: try again."""
    cause = error.__cause__
    return isinstance(cause, S3Error) and cause.response.status == 409 and cause.code != "NoSuchBucket"


def _refused(url: str, key: str, error: S3Error) -> CtgiError:
    status = error.response.status
    if error.code == "NoSuchBucket":
        return CtgiError(f"{url}: there is no such bucket; make it or name another")
    if status == 404:
        return NotThere(f"{url}: nothing is kept under {key}; see what is there with `ctgi release list`")
    if status == 412:
        return AlreadyThere(f"{url}: {key} is taken; choose another name")
    if error.code in _FULL or status == 507:
        return _full(url)
    if error.code in _DENIED or status in (401, 403):
        return CtgiError(f"{url}: {_DENIED.get(error.code or '', _DENIED['AccessDenied'])}")
    return _answered(url, status, error.code)


def _answered(url: str, status: int | None, code: str | None = None) -> CtgiError:
    if status == 507:
        return _full(url)
    what = f"{status or 'nonsense'}{f' {code}' if code else ''}"
    if status in (401, 403):
        return CtgiError(f"{url}: {_DENIED['AccessDenied']}")
    if status is not None and status >= 500:
        return CtgiError(
            f"{url}: the store kept answering {what}; it may be overloaded or out of space: look at the "
            "server, then run the same command again to continue"
        )
    return CtgiError(
        f"{url}: the store answered {what}; check that CTGI_S3_ENDPOINT and CTGI_S3_SECURE name an S3 server"
    )


def _full(url: str) -> CtgiError:
    return CtgiError(
        f"{url}: the store is full; free space (`ctgi release gc` shows what may go), then run the same "
        "command again to continue"
    )
