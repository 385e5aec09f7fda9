"""What of the API of Kubeflow Pipelines a client needs to upload, run and schedule, over HTTP.

It stands in for a cluster: the client is KFP's own, and the answers have the shape of its v2beta1 API.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

API = "/apis/v2beta1"


class KfpApi:
    """Holds what was made; `token`, where set, has to be shown; `version` is what the server calls itself."""

    def __init__(self, token: str = "", version: str = "2.17.0") -> None:
        self.token, self.version = token, version
        self.pipelines: dict[str, dict[str, Any]] = {}
        self.versions: list[dict[str, Any]] = []
        self.experiments: dict[str, dict[str, Any]] = {}
        self.runs: list[dict[str, Any]] = []
        self.schedules: dict[str, dict[str, Any]] = {}
        self.uploads: list[bytes] = []
        self._count, self._lock = 0, threading.Lock()
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api._answer(self, b"")

            def do_POST(self) -> None:
                api._answer(self, self.rfile.read(int(self.headers.get("content-length") or 0)))

            do_DELETE = do_GET

            def log_message(self, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _id(self, kind: str) -> str:
        self._count += 1
        return f"{kind}-{self._count:04d}"

    def _answer(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        with self._lock:
            if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
                status, answer = 401, {"error": "Unauthenticated", "code": 16, "message": "who are you?"}
            else:
                parts = urlsplit(request.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                status, answer = self._route(
                    request.command, parts.path.replace("/apis/v1beta1", API).removeprefix(API), query, body
                )
        data = json.dumps(answer).encode()
        request.send_response(status)
        request.send_header("content-type", "application/json")
        request.send_header("content-length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def _route(self, verb: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
        sent = json.loads(body) if body[:1] == b"{" else {}
        if path == "/healthz":
            return 200, {"tag_name": self.version, "multi_user": False}
        if path == "/pipelines/upload":
            made = {"pipeline_id": self._id("pipeline"), "display_name": query["name"], "name": query["name"]}
            self.pipelines[made["pipeline_id"]] = made
            self.uploads.append(body)
            return 200, made
        if path == "/pipelines/upload_version":
            self.uploads.append(body)
            version = {
                "pipeline_id": query["pipelineid"],
                "pipeline_version_id": self._id("version"),
                "display_name": query["name"],
            }
            self.versions.append(version)
            return 200, version
        if path == "/pipelines":
            wanted = json.loads(query["filter"])["predicates"][0]
            value = wanted.get("stringValue") or wanted.get("string_value")
            return 200, {"pipelines": [p for p in self.pipelines.values() if p["display_name"] == value]}
        if found := re.fullmatch(r"/pipelines/([\w-]+)/versions", path):
            there = [v for v in self.versions if v["pipeline_id"] == found[1]]
            return 200, self._page("pipeline_versions", "pipeline_version_id", there, query)
        if path == "/experiments" and verb == "POST":
            made = {"experiment_id": self._id("experiment"), "display_name": sent["display_name"]}
            self.experiments[sent["display_name"]] = made
            return 200, made
        if path == "/experiments":
            return 200, {"experiments": list(self.experiments.values())}
        if path == "/runs" and verb == "POST":
            self.runs.append({**sent, "run_id": self._id("run")})
            return 200, self.runs[-1]
        if path == "/recurringruns" and verb == "POST":
            made = {**sent, "recurring_run_id": self._id("schedule"), "status": "ENABLED"}
            self.schedules[made["recurring_run_id"]] = made
            return 200, made
        if path == "/recurringruns":
            return 200, self._page("recurringRuns", "recurring_run_id", list(self.schedules.values()), query)
        if (found := re.fullmatch(r"/recurringruns/([\w-]+)", path)) and verb == "DELETE":
            if self.schedules.pop(found[1], None) is None:
                return 404, {"code": 5, "message": f"no schedule {found[1]}"}
            return 200, {}
        return 404, {"code": 5, "message": f"{verb} {path} is not known"}

    @staticmethod
    def _page(field: str, key: str, items: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
        """Two items a page, whatever was asked: a server may. As KFP's own, a page's token is where the next
        one begins, so that nothing is left out where something goes meanwhile."""
        begin = query.get("page_token", "")
        rest = sorted((item for item in items if item[key] >= begin), key=lambda item: str(item[key]))
        more = {"next_page_token": rest[2][key]} if len(rest) > 2 else {}
        return {field: rest[:2], **more}


@contextmanager
def kfp_api(**options: str) -> Iterator[KfpApi]:
    api = KfpApi(**options)
    try:
        yield api
    finally:
        api.close()
