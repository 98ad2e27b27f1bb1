# SPDX-License-Identifier: Apache-2.0
"""The hook's page for people in a real browser: live, on a phone, with a keyboard, and with nothing from elsewhere."""
import contextlib
import sqlite3

import pytest
from support import images, oci
from support.browser import ENTER, TAB, browser, shows
from support.hook import fake_builder, hook, until
from support.registry import registry

WAITS = """#!/bin/sh
echo 'layer 1 of 3' >&2
echo '{"tasks":[{"label":"layer 2/3","done":3000000,"total":12000000}]}' >&2
while [ ! -e "$HOME/go" ]; do sleep 0.1; done
echo '<b>bold</b>' >&2
exit 4
"""


def layout(work, name, content):
    made = images.Maker(work)
    with made.layer() as tar:
        tar.file("file", content)
    oci.Layout(work / name).add_image(name, made.layers, {})
    return f"oci:{work / name}:{name}"


@pytest.fixture
def service(work):
    """A service that has built one image and failed at another, and the registry."""
    with registry(work) as place, hook(
        work / "state", builder=fake_builder(work), environment={"HOME": str(work)}
    ) as running:
        place.push(layout(work, "a", b"a"), "acme/web", "v1")
        assert running.command("trigger", f"{place.host}/acme/web:v1").returncode == 0
        running.place = place
        yield running


def test_page_shows_builds_as_they_run_and_takes_nothing_for_html(service, work):
    with browser() as page:
        page.go(service.url + "/")
        shows(page, "Builds that are over")
        shows(page, "acme/web:v1")
        fake_builder(work, WAITS)
        service.place.push(layout(work, "b", b"b"), "acme/web", "v2")
        service.request("/v1/builds", {"reference": f"{service.place.host}/acme/web:v2"})
        shows(page, "layer 1 of 3")  # without a reload
        shows(page, "layer 2/3: 3.0 MB of 12.0 MB")
        (build,) = service.builds(state="running")
        assert build["tasks"] == [{"label": "layer 2/3", "done": 3000000, "total": 12000000}]
        assert "tasks" not in service.get(f"/v1/builds/{build['id']}")["log"]
        page.go(service.url + "/#/build/2")
        shows(page, "Cancel")
        shows(page, "layer 2/3: 3.0 MB of 12.0 MB")
        assert page.run("const bar = document.querySelector('.bars progress'); return [bar.position, bar.labels.length]") == [0.25, 1]
        (work / "go").touch()
        shows(page, "<b>bold</b>")
        shows(page, "Try again")
        assert page.run("return document.querySelectorAll('pre b').length") == 0
        fake_builder(work)
        page.run("[...document.querySelectorAll('button')].find((b) => b.textContent === 'Try again').click()")
        shows(page, "Snapshot size")
        page.go(service.url + "/#/snapshots")
        shows(page, "2 published")
        page.go(service.url + f"/#/repository/{service.place.host}%2Facme%2Fweb")
        shows(page, "Seconds a build took")
        assert page.run("return document.querySelectorAll('svg rect').length") == 6
        assert page.complaints() == []
        assert [url for url in page.requested() if not url.startswith((service.url, "data:"))] == []


MANY = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
INSERT INTO builds (host, repository, digest, platform, target, state, priority, rule, is_forced, requested_by, created)
SELECT host, repository, digest, platform, target, 'done', 0, rule, 0, 'me', created FROM n, builds WHERE id = 1;
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
INSERT INTO snapshots (digest, target, host, repository, platform, rule, artifact, build, published, image_size,
 snapshot_size, sent_size, seconds)
SELECT digest, target || '/' || i, host, repository, platform, rule, artifact, build, published, 1, 999990, 1, 1.0
FROM n, snapshots;
"""


def test_page_shows_all_that_waits_and_the_size_of_all_snapshots_however_many_there_are(service, work):
    fake_builder(work, WAITS)
    service.place.push(layout(work, "b", b"b"), "acme/web", "v2")
    service.request("/v1/builds", {"reference": f"{service.place.host}/acme/web:v2"})
    until(lambda: service.builds(state="running"), 120, service.said)
    with contextlib.closing(sqlite3.connect(work / "state" / "hook.db")) as database:
        database.executescript(MANY)
    with browser() as page:
        page.go(service.url + "/")
        shows(page, "layer 1 of 3")
        page.go(service.url + "/#/snapshots")
        shows(page, "601 published; 600 MB in all")
        shows(page, "The newest 500")
    (work / "go").touch()
    service.settle()


def become(page, token):
    page.run("sessionStorage.setItem('token', arguments[0]); location.reload()", token)


def offers(page, buttons):
    """The view has these buttons; without a reload, however long it takes."""
    has = "return [...document.querySelectorAll('#main button')].map((b) => b.textContent)"
    shows(page, "Asked for by")
    until(lambda: page.run(has) == buttons, 120, page.text)


def test_page_offers_what_the_service_would_do_and_nothing_else(work):
    tokens = {name: f"the-token-of-{name}" for name in ("ann", "bob", "boss")}
    roles = {"ann": "builder", "bob": "builder", "boss": "admin"}
    config = work / "hook.yaml"
    for name, token in tokens.items():
        (work / name).write_text(token)
    config.write_text(
        "version: 1\nregistries: [{host: '127.0.0.1:*', plain-http: true}]\nrules: [{name: all, repositories: '**'}]\ntokens:\n"
        + "".join(f"- {{name: {name}, role: {role}, file: {name}}}\n" for name, role in roles.items())
    )
    with registry(work) as place, hook(
        work / "state", config=config, builder=fake_builder(work, WAITS), environment={"HOME": str(work)}
    ) as service, browser() as page:

        def ask_as(name):
            headers = {"Authorization": f"Bearer {tokens[name]}"}
            assert service.request("/v1/builds", {"reference": f"{place.host}/acme/web:v1"}, headers=headers)[0] == 202

        place.push(layout(work, "a", b"a"), "acme/web", "v1")
        ask_as("ann")
        page.go(service.url + "/#/build/1")
        become(page, tokens["ann"])
        offers(page, ["Cancel"])
        become(page, tokens["bob"])
        offers(page, [])
        become(page, tokens["ann"])
        offers(page, ["Cancel"])
        ask_as("bob")
        offers(page, [])
        become(page, tokens["boss"])
        offers(page, ["Cancel"])
        page.run("document.querySelector('#main button').click()")
        offers(page, ["Try again"])
        ask_as("ann")  # which queues another build of the same image: this one cannot be queued as well
        offers(page, [])


def test_page_fits_a_phone(service):
    with browser(360, 740) as page:
        for view in ("#/", "#/build/1", "#/snapshots", "#/repositories", f"#/repository/{service.place.host}%2Facme%2Fweb"):
            page.go(service.url + "/" + view)
            shows(page, "acme/web")
            wide, visible = page.run("return [document.documentElement.scrollWidth, document.documentElement.clientWidth]")
            assert wide <= visible, view
            small = page.run(
                "return [...document.querySelectorAll('button, nav a')].filter("
                "(e) => e.offsetParent && e.getBoundingClientRect().height < 40).length"
            )
            assert small == 0, view


def test_page_can_be_used_with_the_keyboard_alone(service):
    with browser() as page:
        page.go(service.url + "/")
        shows(page, "acme/web:v1")
        for _ in range(12):
            page.press(TAB)
            if page.run("return document.activeElement.textContent") == "Snapshots":
                break
        assert page.run("return getComputedStyle(document.activeElement).outlineStyle") != "none"
        page.press(ENTER)
        shows(page, "1 published")
        until(lambda: page.run("return document.activeElement.id") == "main", 120)


def test_page_asks_for_a_token_where_one_is_needed(work):
    (work / "token").write_text("a-token-of-sixteen\n")
    config = work / "hook.yaml"
    config.write_text(
        "version: 1\nregistries: [{host: a.example}]\nrules: [{name: a, repositories: '**'}]\n"
        "tokens: [{name: t, role: reader, file: token}]\n"
    )
    with hook(work / "state", config=config, builder=fake_builder(work)) as service, browser() as page:
        page.go(service.url + "/")
        until(lambda: page.run("return !document.getElementById('login').hidden"), 120)
        for text, expected in (("wrong", "That token is not valid."), ("a-token-of-sixteen", "Nothing waits.")):
            page.run("document.getElementById('token').value = ''; document.getElementById('token').focus()")
            page.press(text + ENTER)
            shows(page, expected)
