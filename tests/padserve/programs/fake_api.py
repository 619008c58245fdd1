"""Stands in for the API, on the port that the stack chose: alive at once, ready when the worker has said that it is."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        file = Path(os.environ["PADSERVE_TEST_READY_FILE"])
        names = [found.name.removeprefix(f"{file.name}-") for found in file.parent.glob(f"{file.name}-*")]
        body = json.dumps({"models": [{"id": name, "state": "ready"} for name in names]}).encode()
        self.send_response(200 if self.path == "/healthz" or file.exists() or names else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer((os.environ["PADSERVE_HOST"], int(os.environ["PADSERVE_PORT"])), Handler).serve_forever()
