"""Stands in for the API, on the port that the stack chose: alive at once, ready when the worker has said that it is."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        good = self.path == "/healthz" or Path(os.environ["PADSERVE_TEST_READY_FILE"]).exists()
        self.send_response(200 if good else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()


ThreadingHTTPServer((os.environ["PADSERVE_HOST"], int(os.environ["PADSERVE_PORT"])), Handler).serve_forever()
