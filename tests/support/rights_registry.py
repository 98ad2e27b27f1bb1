# SPDX-License-Identifier: Apache-2.0
"""A registry whose token server knows users, and which of them may read which repositories."""
import base64
import re
import urllib.parse
from contextlib import contextmanager
from dataclasses import dataclass, field

from support.fault_registry import Tokens
from support.memory_registry import Behaviour, MemoryRegistry, PushHandler
from support.serving import serving


@dataclass
class Rights:
    users: dict = field(default_factory=dict)  # {"user:password": repositories}; "": who shows nothing
    refresh_tokens: dict = field(default_factory=dict)  # {identity token: repositories}


class RightsHandler(PushHandler):
    def _token(self, body):
        form = urllib.parse.parse_qs(body.decode()) if self.command == "POST" else {}
        query = form or urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        rights, may_read = self.server.rights, None
        if form.get("grant_type") == ["refresh_token"]:
            may_read = rights.refresh_tokens.get(form["refresh_token"][0])
        elif form.get("grant_type") == ["password"]:
            may_read = rights.users.get(form["username"][0] + ":" + form["password"][0])
        else:
            given = self.headers.get("Authorization", "")
            user = base64.b64decode(given.removeprefix("Basic ")).decode() if given else ""
            may_read = rights.users.get(user)
        if may_read is None:
            return self.error(401, "UNAUTHORIZED", "incorrect username or password")
        granted = set()
        for scope in " ".join(query.get("scope", [])).split():
            name, actions = re.fullmatch(r"repository:(.+):([^:]*)", scope).groups()
            if name in may_read:
                granted |= {(name, action) for action in actions.split(",")}
        tokens = self.server.tokens
        with self.server.lock:
            token = f"token-{len(tokens.issued)}"
            tokens.issued.append(token)
            tokens.left[token] = 1 << 30
            self.server.granted[token] = granted
        return self.answer(200, f'{{"token":"{token}","access_token":"{token}"}}'.encode())


class RightsRegistry(MemoryRegistry):
    def __init__(self, rights):
        super().__init__(Behaviour())
        self.RequestHandlerClass = RightsHandler
        self.rights = rights

    @contextmanager
    def open_to_all(self):
        """For what is put into it."""
        self.tokens = None
        try:
            yield
        finally:
            self.tokens = Tokens()

    def grant(self, token, *repositories):
        """A bearer token that somebody has fetched elsewhere."""
        with self.lock:
            self.tokens.left[token] = 1 << 30
            self.granted[token] = {(name, "pull") for name in repositories}


@contextmanager
def rights_registry(**rights):
    server = RightsRegistry(Rights(**rights))
    server.tokens = Tokens()
    with serving(server):
        yield server
