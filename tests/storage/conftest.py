from __future__ import annotations

from tests.storage.seaweed import s3_server

__all__ = ["s3_server"]
