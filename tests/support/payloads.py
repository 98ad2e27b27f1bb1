# SPDX-License-Identifier: Apache-2.0
"""Notifications of every provider (tests/fuzz/corpus/provider), and how each shows a secret."""
import hmac

from .programs import SOURCE

SECRET = "not to be guessed"
CORPUS = SOURCE / "tests" / "fuzz" / "corpus" / "provider"


class Payload:
    def __init__(self, path):
        head, self.body = path.read_bytes().split(b"\n\n", 1)
        first, *headers = head.decode().split("\n")
        self.name = path.name
        self.provider = first.split()[0]
        self.headers = dict(line.split(": ", 1) for line in headers)

    def signed(self, secret=SECRET, body=None):
        """(path, headers) of a request that shows the secret as the provider does."""
        body = self.body if body is None else body
        sign = {
            "github": lambda: {"X-Hub-Signature-256": "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()},
            "jfrog": lambda: {"X-JFrog-Event-Auth": hmac.digest(secret.encode(), body, "sha256").hex()},
            "nexus": lambda: {"X-Nexus-Webhook-Signature": hmac.digest(secret.encode(), body, "sha1").hex()},
        }.get(self.provider)
        if sign:
            return f"/hooks/{self.provider}", {**self.headers, **sign()}
        if self.provider in ("quay", "docker-hub", "alibaba", "azure", "google"):
            return f"/hooks/{self.provider}?token={secret.replace(' ', '%20')}", self.headers
        return f"/hooks/{self.provider}", {**self.headers, "Authorization": f"Bearer {secret}"}


PAYLOADS = [Payload(path) for path in sorted(CORPUS.iterdir())]
PROVIDERS = sorted({payload.provider for payload in PAYLOADS})
