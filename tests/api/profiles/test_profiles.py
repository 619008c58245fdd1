"""A profile is what was written last, and every version of it is kept."""

from starlette.testclient import TestClient

from tests.api.conftest import Api

BODY = {
    "principles": ["humor", {"text": "  explain   for a beginner ", "weight": 0.5}],
    "strength": 1,
    "attributes": {"first_name": "Ada"},
    "tags": ["beta", "alpha", "beta"],
}


def test_a_put_creates_version_1_in_canonical_form(client: TestClient) -> None:
    created = client.put("/v1/profiles/ada", json=BODY)

    assert created.status_code == 201
    assert created.headers["location"] == "/v1/profiles/ada"
    answer = created.json()
    assert answer["principles"] == [
        {"text": "humor", "weight": 1.0},
        {"text": "explain for a beginner", "weight": 0.5},
    ]
    assert answer["tags"] == ["alpha", "beta"]
    assert (answer["version"], answer["method"], answer["metadata"]) == (1, None, {})
    assert client.get("/v1/profiles/ada").json() == answer


def test_every_change_makes_a_version_and_an_equal_write_makes_none(client: TestClient) -> None:
    client.put("/v1/profiles/ada", json=BODY)

    same = client.put("/v1/profiles/ada", json={**BODY, "tags": ["alpha", "beta"]})
    changed = client.put("/v1/profiles/ada", json={**BODY, "strength": 2})

    assert (same.status_code, same.json()["version"]) == (200, 1)
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    versions = client.get("/v1/profiles/ada/versions").json()
    assert [version["version"] for version in versions["data"]] == [2, 1]
    assert client.get("/v1/profiles/ada/versions/1").json()["strength"] == 1.0
    assert client.get("/v1/profiles/ada/versions/3").status_code == 404


def test_a_patch_merges_and_null_removes(client: TestClient) -> None:
    client.put("/v1/profiles/ada", json=BODY)
    patch = {"strength": None, "attributes": {"first_name": None, "city": "London"}, "method": "prompt"}

    patched = client.patch(
        "/v1/profiles/ada", json=patch, headers={"Content-Type": "application/merge-patch+json"}
    ).json()

    assert (patched["strength"], patched["attributes"], patched["method"]) == (None, {"city": "London"}, "prompt")
    assert patched["tags"] == ["alpha", "beta"]
    assert patched["version"] == 2


def test_a_patch_is_checked_as_a_whole_and_needs_a_profile(client: TestClient) -> None:
    client.put("/v1/profiles/ada", json=BODY)

    unknown_field = client.patch("/v1/profiles/ada", json={"strenght": 2})
    not_an_object = client.patch("/v1/profiles/ada", json=["humor"])
    nobody = client.patch("/v1/profiles/nobody", json={"strength": 2})

    assert unknown_field.json()["errors"][0]["pointer"] == "/strenght"
    assert not_an_object.status_code == 422
    assert nobody.status_code == 404


def test_a_deleted_profile_is_gone_with_its_versions_and_a_new_one_starts_at_1(client: TestClient) -> None:
    first = client.put("/v1/profiles/ada", json=BODY)

    deleted = client.delete("/v1/profiles/ada")

    assert (deleted.status_code, deleted.content) == (204, b"")
    assert client.delete("/v1/profiles/ada").status_code == 404
    assert client.get("/v1/profiles/ada").status_code == 404
    assert client.get("/v1/profiles/ada/versions/1").status_code == 404
    again = client.put("/v1/profiles/ada", json={**BODY, "strength": 3})
    assert (again.status_code, again.json()["version"]) == (201, 1)
    assert again.headers["etag"] != first.headers["etag"]


def test_a_list_is_paged_by_user_id_and_filtered_by_any_of_the_tags(client: TestClient) -> None:
    for user_id, tags in (("carl", ["b"]), ("ada", ["a"]), ("bob", ["a", "b"]), ("dora", [])):
        client.put(f"/v1/profiles/{user_id}", json={"tags": tags})

    first = client.get("/v1/profiles", params={"limit": 3}).json()
    second = client.get("/v1/profiles", params={"limit": 3, "after": first["last_id"]}).json()
    tagged = client.get("/v1/profiles", params={"tag": ["a", "b"]}).json()

    assert [profile["user_id"] for profile in first["data"]] == ["ada", "bob", "carl"]
    assert (first["first_id"], first["last_id"], first["has_more"]) == ("ada", "carl", True)
    assert [profile["user_id"] for profile in second["data"]] == ["dora"]
    assert second["has_more"] is False
    assert [profile["user_id"] for profile in tagged["data"]] == ["ada", "bob", "carl"]
    assert client.get("/v1/profiles", params={"tag": "none"}).json()["first_id"] is None


def test_versions_are_paged_the_newest_first(client: TestClient) -> None:
    for strength in range(4):
        client.put("/v1/profiles/ada", json={"strength": strength})

    first = client.get("/v1/profiles/ada/versions", params={"limit": 3}).json()
    second = client.get("/v1/profiles/ada/versions", params={"limit": 3, "after": first["last_id"]}).json()

    assert [version["version"] for version in first["data"]] == [4, 3, 2]
    assert first["has_more"] is True
    assert [version["version"] for version in second["data"]] == [1]


def test_user_ids_may_look_like_anything_that_can_be_read(client: TestClient) -> None:
    for user_id in ("a:b", "ada@example.org", "Ada Lovelace", "v1.2", "übung", "profiles:import", "x" * 128, "50%"):
        created = client.put("/v1/profiles/" + _encoded(user_id), json={})

        assert created.status_code == 201
        assert client.get(created.headers["location"]).json()["user_id"] == user_id


def test_a_method_that_needs_a_policy_is_refused_where_there_is_none(api: Api) -> None:
    api.serve_without_policy()
    client = api.client()
    client.put("/v1/profiles/ada", json={})

    answers = [
        client.put("/v1/profiles/ada", json={"method": "pad"}),
        client.patch("/v1/profiles/ada", json={"method": "pad"}),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(422, "policy_required")] * 2
    assert "PADSERVE_POLICY" in answers[0].json()["detail"]
    assert client.put("/v1/profiles/ada", json={"method": "contrast"}).status_code == 200


def _encoded(user_id: str) -> str:
    return "".join(f"%{byte:02X}" for byte in user_id.encode())
