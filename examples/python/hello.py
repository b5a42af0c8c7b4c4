"""A service like any other: it is told its port, and ends on SIGTERM."""
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, greeting = int(sys.argv[1]), sys.argv[2]


class Hello(BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{greeting}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
ThreadingHTTPServer(("127.0.0.1", port), Hello).serve_forever()
