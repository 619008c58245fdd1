"""Stands in for the API: answers 200 to everything, on the port that the stack chose; SIGTERM ends it."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


ThreadingHTTPServer((os.environ["PADSERVE_HOST"], int(os.environ["PADSERVE_PORT"])), Handler).serve_forever()
