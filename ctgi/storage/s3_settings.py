"""Where the S3 server is and who is calling, from the environment, a file, or a mounted Kubernetes secret.

| setting | variable | else |
| --- | --- | --- |
| endpoint | CTGI_S3_ENDPOINT: host:port, or a URL | AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL |
| TLS | CTGI_S3_SECURE: true or false | the scheme of the endpoint, else true |
| region | CTGI_S3_REGION | AWS_REGION, AWS_DEFAULT_REGION, else us-east-1 |
| credentials | CTGI_S3_ACCESS_KEY, CTGI_S3_SECRET_KEY | AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY |
| session token | CTGI_S3_SESSION_TOKEN | AWS_SESSION_TOKEN |
| or: credentials in a file | CTGI_S3_CREDENTIALS_FILE | AWS_SHARED_CREDENTIALS_FILE |
| how long to keep trying | CTGI_S3_PATIENCE: seconds | 120 |

The file is an INI file as the AWS tools write it, or a folder with one file a value, as Kubernetes mounts a
secret (`accesskey` and `secretkey` as Kubeflow Pipelines names them, or the names of the variables). It is
read again with every request, so that a rotated secret is used without a restart. A certificate authority of
one's own is named by SSL_CERT_FILE.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from ctgi.errors import CtgiError

# Access key, secret key and session token, under any of these names in lower case.
_NAMES = (
    ("accesskey", "access_key", "ctgi_s3_access_key", "aws_access_key_id"),
    ("secretkey", "secret_key", "ctgi_s3_secret_key", "aws_secret_access_key"),
    ("sessiontoken", "session_token", "ctgi_s3_session_token", "aws_session_token"),
)


class Secrets:
    """An access key with its secret. Neither shows when it is printed."""

    __slots__ = ("access", "secret", "token")

    def __init__(self, access: str, secret: str, token: str | None) -> None:
        self.access, self.secret, self.token = access, secret, token

    def __repr__(self) -> str:
        return "Secrets(…)"


@dataclass(frozen=True)
class S3Settings:
    """Where and who.

    Attributes:
        endpoint: host, or host:port.
        secure: TLS.
        patience: seconds for which a request is tried again.
        secrets: gives the credentials of the moment.
    """

    endpoint: str
    secure: bool
    region: str
    patience: float
    secrets: Callable[[], Secrets] = field(repr=False)


def read_settings(environment: Mapping[str, str] = os.environ) -> S3Settings:
    """The settings that `environment` names.

    Raises:
        CtgiError: one is missing or cannot be used. No value of a secret is in the message.
    """
    given = _first(environment, "CTGI_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    if given is None:
        raise CtgiError("no S3 endpoint: set CTGI_S3_ENDPOINT, for example to http://seaweedfs.kubeflow:8333")
    parts = urlsplit(given if "://" in given else f"//{given}")
    try:
        usable = bool(parts.hostname) and (parts.port or True)
    except ValueError:  # the port is no number
        usable = False
    if (
        not usable
        or parts.username is not None
        or parts.path.strip("/")
        or parts.scheme not in ("", "http", "https")
    ):
        raise CtgiError(
            "CTGI_S3_ENDPOINT: not an endpoint; write host:port, http://host:port or https://host"
        )
    secure = environment.get("CTGI_S3_SECURE", "").lower()
    if secure not in ("", "true", "false", "1", "0"):
        raise CtgiError(f"CTGI_S3_SECURE={secure[:20]!r}: write true or false")
    patience = environment.get("CTGI_S3_PATIENCE", "120")
    if not patience.replace(".", "", 1).isdecimal():
        raise CtgiError(f"CTGI_S3_PATIENCE={patience[:20]!r}: write a number of seconds")
    settings = S3Settings(
        endpoint=parts.netloc,
        secure=secure in ("true", "1") if secure else parts.scheme != "http",
        region=_first(environment, "CTGI_S3_REGION", "AWS_REGION", "AWS_DEFAULT_REGION") or "us-east-1",
        patience=float(patience),
        secrets=_secrets(environment),
    )
    settings.secrets()  # what is missing is said now
    return settings


def _secrets(environment: Mapping[str, str]) -> Callable[[], Secrets]:
    for keys, session, files in (
        (("CTGI_S3_ACCESS_KEY", "CTGI_S3_SECRET_KEY"), "CTGI_S3_SESSION_TOKEN", "CTGI_S3_CREDENTIALS_FILE"),
        (("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "AWS_SESSION_TOKEN", "AWS_SHARED_CREDENTIALS_FILE"),
    ):
        access, secret = (_first(environment, name) for name in keys)
        if access and secret:
            return partial(Secrets, access, secret, _first(environment, session))
        if access or secret:
            raise CtgiError(f"only one of {' and '.join(keys)} is set; set both")
        if file := _first(environment, files):
            profile = environment.get("AWS_PROFILE", "default")
            return partial(_from_file, Path(file), profile)
    raise CtgiError(
        "no S3 credentials: set CTGI_S3_ACCESS_KEY and CTGI_S3_SECRET_KEY, or let CTGI_S3_CREDENTIALS_FILE "
        "name a file or a mounted secret"
    )


def _from_file(path: Path, profile: str) -> Secrets:
    try:
        if path.is_dir():
            wanted = {name for names in _NAMES for name in names}
            files = [file for file in path.iterdir() if file.name.lower() in wanted]
            values = {file.name.lower(): file.read_text(encoding="utf-8").strip() for file in files}
        else:
            parser = configparser.ConfigParser(interpolation=None)
            parser.read_string(path.read_text(encoding="utf-8"))
            values = dict(parser[profile]) if profile in parser else {}
    except OSError as error:
        raise CtgiError(
            f"{path}: the S3 credentials cannot be read ({error.strerror}); check the path"
        ) from error
    except (configparser.Error, UnicodeDecodeError):
        # Without its cause: the parser quotes the line it stumbled over.
        raise CtgiError(
            f"{path}: not a credentials file; write [default] and below it aws_access_key_id=… and "
            "aws_secret_access_key=…"
        ) from None
    access, secret, token = (
        next((values[name] for name in names if values.get(name)), None) for names in _NAMES
    )
    if access is None or secret is None:
        raise CtgiError(
            f"{path}: holds no access key with its secret; a mounted secret has the files accesskey and "
            f"secretkey, a credentials file has [{profile}] with aws_access_key_id and aws_secret_access_key"
        )
    return Secrets(access, secret, token)


def _first(environment: Mapping[str, str], *names: str) -> str | None:
    return next((value for name in names if (value := environment.get(name, "").strip())), None)
