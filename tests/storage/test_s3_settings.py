"""Where the S3 settings come from, which wins, and that no secret shows."""

from __future__ import annotations

import pytest

from ctgi.errors import CtgiError
from ctgi.storage.s3_settings import read_settings

KEYS = {"CTGI_S3_ACCESS_KEY": "ours", "CTGI_S3_SECRET_KEY": "hush-ours"}
AWS = {
    "AWS_ACCESS_KEY_ID": "theirs",
    "AWS_SECRET_ACCESS_KEY": "hush-theirs",
    "AWS_SESSION_TOKEN": "hush-token",
}


@pytest.mark.parametrize(
    "given, endpoint, secure",
    [
        ({"CTGI_S3_ENDPOINT": "http://host:8333"}, "host:8333", False),
        ({"CTGI_S3_ENDPOINT": "https://host"}, "host", True),
        ({"CTGI_S3_ENDPOINT": "host:9000"}, "host:9000", True),
        ({"CTGI_S3_ENDPOINT": "host:9000", "CTGI_S3_SECURE": "false"}, "host:9000", False),
        ({"AWS_ENDPOINT_URL": "http://other/"}, "other", False),
        ({"AWS_ENDPOINT_URL": "http://other", "CTGI_S3_ENDPOINT": "http://ours"}, "ours", False),
    ],
)
def test_the_endpoint(given, endpoint, secure):
    settings = read_settings({**given, **KEYS})
    assert (settings.endpoint, settings.secure) == (endpoint, secure)
    assert settings.region == "us-east-1" and settings.patience == 120


def test_the_region_and_patience():
    settings = read_settings(
        {"CTGI_S3_ENDPOINT": "h", "AWS_REGION": "eu-west-1", "CTGI_S3_PATIENCE": "1.5", **KEYS}
    )
    assert (settings.region, settings.patience) == ("eu-west-1", 1.5)


def secrets(**given):
    found = read_settings({"CTGI_S3_ENDPOINT": "host", **given}).secrets()
    return found.access, found.secret, found.token


def test_ours_come_before_those_of_aws(tmp_path):
    assert secrets(**AWS) == ("theirs", "hush-theirs", "hush-token")
    assert secrets(**AWS, **KEYS) == ("ours", "hush-ours", None)
    (tmp_path / "file").write_text("[default]\naws_access_key_id = filed\naws_secret_access_key = hush%5\n")
    assert secrets(**AWS, CTGI_S3_CREDENTIALS_FILE=str(tmp_path / "file")) == ("filed", "hush%5", None)
    assert secrets(AWS_SHARED_CREDENTIALS_FILE=str(tmp_path / "file"))[0] == "filed"


def test_a_profile_of_the_file(tmp_path):
    (tmp_path / "file").write_text(
        "[a]\naws_access_key_id=x\n[b]\naws_access_key_id=k\naws_secret_access_key=s\n"
    )
    assert secrets(CTGI_S3_CREDENTIALS_FILE=str(tmp_path / "file"), AWS_PROFILE="b") == ("k", "s", None)


@pytest.mark.parametrize(
    "names", [("accesskey", "secretkey"), ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
)
def test_a_mounted_secret_is_read_again_when_it_is_rotated(tmp_path, names):
    """Kubernetes mounts one file a key, as links into a hidden folder that is exchanged."""
    for number in ("1", "2"):
        (tmp_path / f"..{number}").mkdir()
        for name, value in zip(names, ("key", "hush"), strict=True):
            (tmp_path / f"..{number}" / name).write_text(f"{value}{number}\n")
    (tmp_path / "..data").symlink_to("..1")
    for name in names:
        (tmp_path / name).symlink_to(f"..data/{name}")
    settings = read_settings({"CTGI_S3_ENDPOINT": "host", "CTGI_S3_CREDENTIALS_FILE": str(tmp_path)})
    assert settings.secrets().secret == "hush1"
    (tmp_path / "..data").unlink()
    (tmp_path / "..data").symlink_to("..2")
    assert (settings.secrets().access, settings.secrets().secret) == ("key2", "hush2")
    assert "hush" not in repr(settings) + repr(settings.secrets())


@pytest.mark.parametrize(
    "given, said",
    [
        ({}, "no S3 endpoint: set CTGI_S3_ENDPOINT"),
        ({"CTGI_S3_ENDPOINT": "http://h:port", **KEYS}, "not an endpoint"),
        ({"CTGI_S3_ENDPOINT": "http://key:hush@host", **KEYS}, "not an endpoint"),
        ({"CTGI_S3_ENDPOINT": "ftp://host", **KEYS}, "not an endpoint"),
        ({"CTGI_S3_ENDPOINT": "http://host/path", **KEYS}, "not an endpoint"),
        ({"CTGI_S3_ENDPOINT": "host", "CTGI_S3_SECURE": "maybe", **KEYS}, "write true or false"),
        ({"CTGI_S3_ENDPOINT": "host", "CTGI_S3_PATIENCE": "long", **KEYS}, "a number of seconds"),
        ({"CTGI_S3_ENDPOINT": "host"}, "no S3 credentials"),
        ({"CTGI_S3_ENDPOINT": "host", "CTGI_S3_SECRET_KEY": "hush"}, "set both"),
        ({"CTGI_S3_ENDPOINT": "host", "CTGI_S3_CREDENTIALS_FILE": "/no/such"}, "cannot be read"),
    ],
)
def test_what_is_missing_is_named(given, said):
    with pytest.raises(CtgiError, match=said) as error:
        read_settings(given)
    assert "hush" not in str(error.value)


@pytest.mark.parametrize(
    "content", ["hush", "[default]\nhush\n", "[other]\na=hush\n", "\xff", "[default]\nx=1\n"]
)
def test_a_file_without_credentials_is_not_quoted(tmp_path, content):
    (tmp_path / "file").write_bytes(content.encode("latin-1"))
    with pytest.raises(CtgiError, match="file: (not a credentials file|holds no access key)") as error:
        secrets(CTGI_S3_CREDENTIALS_FILE=str(tmp_path / "file"))
    assert "hush" not in str(error.value) and error.value.__cause__ is None
