# SPDX-License-Identifier: Apache-2.0
"""Requests to a Cluster's API server as its admin, without a process for each."""
import http.client
import json
import ssl
from urllib.parse import quote, urlsplit

from .kubernetes import API

SNAPSHOTS = "/apis/zeropull.dev/v1alpha1/namespaces/{}/imagesnapshots"
JOBS = "/apis/batch/v1/namespaces/{}/jobs"


class ApiError(Exception):
    def __init__(self, status, text):
        super().__init__(f"{status}: {text[:500]}")
        self.status = status


class KubernetesApi:
    """One connection: for one thread."""

    def __init__(self, cluster):
        keys = cluster.directory / "keys"
        self._context = ssl.create_default_context(cafile=keys / "ca.crt")
        self._context.load_cert_chain(keys / "admin.crt", keys / "admin.key")
        self._connection = None

    def _send(self, method, path, body, kind):
        if not self._connection:
            self._connection = http.client.HTTPSConnection(urlsplit(API).netloc, context=self._context, timeout=60)
        headers = {"Content-Type": kind} if body is not None else {}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read().decode()

    def text(self, method, path, body=None, kind="application/json"):
        """What it answers; raises ApiError for what is not 2xx."""
        try:
            status, text = self._send(method, path, body, kind)
        except (http.client.HTTPException, OSError):  # it was kept open for too long
            self._connection = None
            status, text = self._send(method, path, body, kind)
        if status > 299:
            raise ApiError(status, text)
        return text

    def call(self, *request):
        return json.loads(self.text(*request))

    def get(self, path, **query):
        return self.call("GET", path + ("?" + "&".join(f"{key}={quote(value)}" for key, value in query.items()) if query else ""))

    def list(self, path, **query):
        return self.get(path, **query)["items"]

    def create(self, path, body):
        return self.call("POST", path, body)

    def merge(self, path, body):
        return self.call("PATCH", path, body, "application/merge-patch+json")

    def delete(self, path):
        return self.call("DELETE", path)

    def find(self, path):
        """The object, or None."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
