"""The HTTP interface of a control process, without the command line in between."""

import contextlib
import http.client
import json
import socket


class Control:
    """Requests over `control.sock`, one connection for all of them while it lasts."""

    def __init__(self, directory, patience=30):
        self._connection = _UnixConnection(str(directory / "control.sock"), timeout=patience)

    def closing(self):
        """The connection ends with a `with`."""
        return contextlib.closing(self)

    def close(self):
        """Ends the connection; the next request makes another."""
        self._connection.close()

    def get(self, path):
        """`GET path`, as data."""
        return self.request("GET", path)

    def post(self, path, body, kind="application/json"):
        """`POST path`; the body is text, or data that is sent as JSON."""
        if not isinstance(body, str | bytes):
            body = json.dumps(body)
        return self.request("POST", path, body, kind)

    def apply(self, configuration, query=""):
        """Applies a configuration, text or data."""
        if not isinstance(configuration, str):
            configuration = json.dumps(configuration, indent=1)
        return self.post(f"/v1/apply{query}", configuration, "application/yaml")

    def request(self, method, path, body=None, kind=None):
        """One request; what does not succeed is a `Refused`."""
        headers = {"content-type": kind} if kind else {}
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        if response.status != 200:
            raise Refused(response.status, answer.decode(errors="replace"))
        return json.loads(answer)


class Refused(Exception):
    """A request that did not succeed."""

    def __init__(self, status, answer):
        super().__init__(f"HTTP {status}: {answer}")
        self.status, self.answer = status, answer


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("sluice", timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
