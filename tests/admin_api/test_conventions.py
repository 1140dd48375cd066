"""What every resource keeps: problems, strict bodies and queries, conditions, OpenAPI, the observer, unavailable stores."""

import inspect
import json

import pytest
from fastapi.dependencies.models import Dependant
from starlette.datastructures import Headers

from admin_api.app import guarded_routes
from admin_api.conditions import Conditions
from admin_api.problems import MAX_FIELD_ERRORS, PREFIX, PROBLEMS, Problem
from registry.errors import StoreUnavailable
from tests.admin_api.world import HOME, a_world, fields, problem


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        (b"{", "application/json", "malformed-json"),
        (b'{"name": "\xff"}', "application/json", "malformed-json"),
        (b"[" * 100_000, "application/json", "malformed-json"),
        (b'{"name": ' + b"1" * 5000 + b"}", "application/json", "malformed-json"),
        (b'{"name": "x"}', "text/plain", "unsupported-media-type"),
        (b'{"name": "x"}', None, "unsupported-media-type"),
        (b"", "application/json", "invalid-fields"),
        (b"[]", "application/json", "invalid-fields"),
        (b"null", "application/json", "invalid-fields"),
        (b'{"name": NaN}', "application/json", "invalid-fields"),
        (b'{"name": "a\\u0000b"}', "application/json", "invalid-fields"),
        (b'{"name": "a\\ud800b"}', "application/json", "invalid-fields"),
        (b'{"name": "a\\u202eb"}', "application/json", "invalid-fields"),
        (b'{"name": " x"}', "application/json", "invalid-fields"),
        (b'{"name": 1}', "application/json", "invalid-fields"),
        (b'{"name": "x", "\\ud800": 1}', "application/json", "invalid-fields"),
        (b'{"name": "' + b"x" * 65 + b'"}', "application/json", "invalid-fields"),
    ],
)
async def test_hostile_bodies(content: bytes, kind: str | None, code: str) -> None:
    world = await a_world()
    async with world.client() as client:
        answer = await client.post("/sites", content=content, headers={"Content-Type": kind} if kind else {})
    assert problem(answer) == code
    answer.text.encode("ascii")


async def test_a_million_faults_are_told_in_part() -> None:
    world = await a_world()
    async with world.client() as client:
        answer = await client.post("/sites", json={"name": "x", **{f"f{n}": n for n in range(5000)}})
    assert len(fields(answer)) == MAX_FIELD_ERRORS


async def test_queries_are_strict() -> None:
    world = await a_world()
    async with world.client() as client:
        assert fields(await client.get("/devices?stie=home")).keys() == {"?stie"}
        assert fields(await client.get("/devices?limit=501")).keys() == {"?limit"}
        assert fields(await client.get("/devices?limit=0")).keys() == {"?limit"}
        assert fields(await client.get("/users")).keys() == {"?site"}


async def test_unknown_paths_and_methods() -> None:
    world = await a_world()
    async with world.client() as client:
        assert problem(await client.get("/nothing")) == "not-found"
        answer = await client.put("/sites", json={})
        assert problem(answer) == "method-not-allowed"
        assert "GET" in answer.headers["allow"] or "POST" in answer.headers["allow"]


async def test_the_store_away_is_503() -> None:
    world = await a_world()

    async def away(*_arguments: object, **_named: object) -> None:
        raise StoreUnavailable("disk full")

    async with world.client() as client:
        world.store.batch = away  # type: ignore[assignment, method-assign]
        answer = await client.post("/sites", json={"name": "x"})
        assert problem(answer) == "store-unavailable"
        assert answer.headers["retry-after"] == "2"


async def test_conditional_get() -> None:
    world = await a_world()
    async with world.client() as client:
        first = await client.get("/sites/home")
        tag = first.headers["etag"]
        for sent, status in ((tag, 304), (f"W/{tag}", 304), (f'"0", {tag}', 304), ("*", 304), ('"0"', 200)):
            answer = await client.get("/sites/home", headers={"If-None-Match": sent})
            assert answer.status_code == status, sent
            assert answer.headers["etag"] == tag
        assert problem(await client.get("/sites/home", headers={"If-None-Match": "nonsense"})) == "malformed-etag"


@pytest.mark.parametrize(
    ("if_match", "version", "code"),
    [
        (None, 7, "precondition-required"),
        ('"7"', 7, None),
        ('"6" , "7"', 7, None),
        ("*", 7, None),
        ('W/"7"', 7, "precondition-failed"),
        ('"*"', 7, "precondition-failed"),
        ('"07"', 7, "precondition-failed"),
        ("7", 7, "malformed-etag"),
        ('"7', 7, "malformed-etag"),
        ('"7" "8"', 7, "malformed-etag"),
        ("", 7, "malformed-etag"),
        ('"7",' * 2000, 7, "malformed-etag"),
    ],
)
def test_if_match(if_match: str | None, version: int, code: str | None) -> None:
    headers = Headers({} if if_match is None else {"If-Match": if_match})
    if code is None:
        Conditions.read(headers).check_change(version)
        return
    with pytest.raises(Problem) as refused:
        Conditions.read(headers).check_change(version)
    assert refused.value.code == code


async def test_openapi_describes_every_operation() -> None:
    world = await a_world()
    schema = world.app.openapi()
    assert "HTTPValidationError" not in json.dumps(schema)
    count = 0
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            count += 1
            assert operation["description"], (method, path)
            if path.startswith(f"{PREFIX}/problems"):
                assert "security" not in operation
                continue
            assert operation["security"] == [{"bearer": []}]
            assert "." in operation["x-permission"]
            for status in ("401", "503"):
                assert "application/problem+json" in operation["responses"][status]["content"]
            if method in ("post", "put", "patch", "delete"):
                assert "403" in operation["responses"], (method, path)
    assert count == 113


async def test_nothing_runs_in_threads() -> None:
    """FastAPI gives a thread to each sync endpoint and dependency: slower, and threads that can outlive the loop."""

    def calls(dependant: Dependant) -> list[object]:
        return [dependant.call, *(found for inner in dependant.dependencies for found in calls(inner))]

    world = await a_world()
    routes = guarded_routes(world.app)
    found = [call for route in routes for call in calls(route.dependant)]
    assert len(found) > len(routes)
    assert [call for call in found if not inspect.iscoroutinefunction(call)] == []


def test_every_problem_is_complete() -> None:
    for code, kind in PROBLEMS.items():
        assert code == code.lower()
        assert 400 <= kind.status < 600
        assert kind.title
        assert kind.way_out.endswith(".")


async def test_the_observer_sees_templates_only() -> None:
    world = await a_world()
    async with world.client() as client:
        await client.get("/sites/home")
        await client.get("/sites/none")
        await client.get("/" + "x" * 200)
        await client.request("BREW", "/sites")
    assert [seen[:3] for seen in world.seen.requests] == [
        (f"{PREFIX}/sites/{{site}}", "GET", 200),
        (f"{PREFIX}/sites/{{site}}", "GET", 404),
        ("unmatched", "GET", 404),
        (f"{PREFIX}/sites", "other", 405),
    ]


async def test_a_bug_is_a_500_and_is_raised_for_the_log() -> None:
    world = await a_world()

    async def broken(*_arguments: object, **_named: object) -> None:
        raise RuntimeError("boom")

    world.store.get = broken  # type: ignore[method-assign]
    async with world.client() as client:
        with pytest.raises(RuntimeError, match="boom"):
            await client.get(f"/sites/{HOME}")
    assert world.seen.requests[-1][2] == 500
