# SPDX-License-Identifier: Apache-2.0
"""What a service account asks of an API server, by that server's audit log."""
import json


class Request:
    """An entry of the log."""

    def __init__(self, entry):
        what = entry.get("objectRef", {})
        self.verb, self.namespace, self.code = entry["verb"], what.get("namespace"), entry["responseStatus"]["code"]
        self.resource = (what.get("apiGroup", ""), "/".join(filter(None, (what.get("resource"), what.get("subresource")))))
        (self.token,) = entry["user"]["extra"]["authentication.kubernetes.io/credential-id"]

    @property
    def is_write(self):
        return self.verb not in ("get", "list", "watch")

    def __repr__(self):
        return f"{self.verb} {self.resource} in {self.namespace}: {self.code}"


class Audit:
    """The log of an API server that is started with `options`."""

    def __init__(self, directory, namespace, account):
        policy, self.log = directory / "audit.yaml", directory / "audit.log"
        policy.write_text(json.dumps({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata", "users": [f"system:serviceaccount:{namespace}:{account}"]}, {"level": "None"}],
        }))  # fmt: skip
        self.options = [f"--audit-policy-file={policy}", f"--audit-log-path={self.log}", "--audit-log-maxsize=1000"]

    def mark(self):
        """For since(): now."""
        return self.log.stat().st_size

    def since(self, mark):
        """What was asked from there on, in the order in which it was answered."""
        return [Request(json.loads(line)) for line in self.log.read_bytes()[mark:].splitlines()]
