"""Files as OpenAI's own client sends, lists, reads and deletes them."""

import datetime as dt
import json
import os
import time
import uuid
from io import BytesIO

import httpx2
import pytest
from openai import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    OpenAI,
    PermissionDeniedError,
)
from sqlalchemy import delete, func, select, update

from api.http.dependencies import Scope
from db.openai_models import FileChunk, StoredFile
from db.queries import files
from tests.openai.conftest import Site

DAY = 86_400


def upload(client: OpenAI, content: bytes = b'{"a": 1}\n', name: str = "in.jsonl", **fields: object) -> str:
    return client.files.create(file=(name, content), purpose="batch", **fields).id  # type: ignore[arg-type] # by name


def expire(site: Site, file_id: str) -> None:
    past = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
    named = StoredFile.id == uuid.UUID(file_id.removeprefix("file-"))
    with site.database.transaction() as session:
        session.execute(update(StoredFile).where(named).values(expires_at=past))


def num_chunks(site: Site, file_id: str) -> int:
    named = FileChunk.file_id == uuid.UUID(file_id.removeprefix("file-"))
    with site.database.reading() as session:
        return session.scalars(select(func.count()).select_from(FileChunk).where(named)).one()


def test_an_upload_comes_back_byte_for_byte(client: OpenAI) -> None:
    content = bytes(range(256)) * 9000 + b"\r\n"  # over two chunks, and no text

    file = client.files.create(file=("letters ü.jsonl", BytesIO(content)), purpose="batch")

    assert (file.object, file.bytes, file.filename, file.purpose) == ("file", len(content), "letters ü.jsonl", "batch")
    assert file.status == "processed"
    assert abs(file.created_at - time.time()) < 60
    assert file.expires_at == file.created_at + 30 * DAY
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).content == content


def test_an_empty_file_is_a_file(client: OpenAI) -> None:
    file_id = upload(client, b"")

    assert client.files.retrieve(file_id).bytes == 0
    assert client.files.content(file_id).content == b""


def test_a_file_says_how_long_it_is_kept(client: OpenAI) -> None:
    file = client.files.create(
        file=("a", b"1"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 7200}
    )

    assert file.expires_at == pytest.approx(file.created_at + 7200, abs=2)


@pytest.mark.parametrize("seconds", [3599, 2_592_001, -1])
def test_a_time_to_keep_a_file_has_bounds(client: OpenAI, seconds: int) -> None:
    with pytest.raises(BadRequestError) as refused:
        upload(client, expires_after={"anchor": "created_at", "seconds": seconds})

    assert refused.value.param == "expires_after/seconds"


def test_only_files_for_batches_are_taken(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as refused:
        client.files.create(file=("a", b"1"), purpose="fine-tune")

    assert (refused.value.code, refused.value.param) == ("invalid_request", "purpose")
    assert refused.value.type == "invalid_request_error"
    assert "`batch`" in refused.value.message


def test_an_expired_file_is_gone_at_once_and_its_bytes_with_the_next_sweep(site: Site, client: OpenAI) -> None:
    file_id = upload(client)
    expire(site, file_id)

    for ask in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(NotFoundError):
            ask(file_id)
    assert client.files.list().data == []
    assert num_chunks(site, file_id) == 1
    with site.database.transaction() as session:
        for expired in files.expired(session):
            files.remove_expired(session, expired)
        assert files.expired(session) == []
    assert num_chunks(site, file_id) == 0


def test_a_deleted_file_is_gone(client: OpenAI) -> None:
    file_id = upload(client)

    deleted = client.files.delete(file_id)

    assert (deleted.id, deleted.object, deleted.deleted) == (file_id, "file", True)
    with pytest.raises(NotFoundError) as missing:
        client.files.retrieve(file_id)
    assert f"No such File object: {file_id}" in missing.value.message
    assert missing.value.code == "file_not_found"


def test_the_clients_own_iterator_walks_all_pages_in_both_directions(client: OpenAI) -> None:
    ids = [upload(client, name=f"{number}.jsonl") for number in range(5)]

    assert [file.id for file in client.files.list(limit=2)] == ids[::-1]
    assert [file.id for file in client.files.list(limit=2, order="asc")] == ids
    first = client.files.list(limit=2)
    assert first.has_more
    assert first.model_dump()["last_id"] == first.data[-1].id == ids[3]
    assert [file.id for file in client.files.list(after=ids[1])] == [ids[0]]
    assert client.files.list(purpose="batch_output").data == []


def test_another_tenants_files_are_not_there(site: Site, client: OpenAI) -> None:
    file_id = upload(client)
    rival = site.client()

    for ask in (rival.files.retrieve, rival.files.content, rival.files.delete):
        with pytest.raises(NotFoundError) as missing:
            ask(file_id)
        assert f"No such File object: {file_id}" in missing.value.message
    assert rival.files.list().data == []
    assert client.files.retrieve(file_id).id == file_id


@pytest.mark.parametrize("name", ["x", "file-", "file-%00", "file-" + "g" * 32, "file-" + "0" * 32, "é" * 200])
def test_what_names_no_file_is_not_found(client: OpenAI, name: str) -> None:
    with pytest.raises(NotFoundError) as missing:
        client.files.retrieve(name)

    assert missing.value.code == "file_not_found"
    assert missing.value.request_id


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 10_001}, {"order": "up"}, {"purpose": "x"}])
def test_a_wrong_question_is_a_bad_request(client: OpenAI, query: dict[str, object]) -> None:
    with pytest.raises(BadRequestError) as refused:
        client.files.list(extra_query=query)

    assert refused.value.param == next(iter(query))


MALFORMED = {
    "no boundary": ("multipart/form-data", b"--x\r\n"),
    "another boundary": ("multipart/form-data; boundary=y", b"--x\r\n\r\n--x--\r\n"),
    "cut off": ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="file"; file'),
    "a part without a name": ("multipart/form-data; boundary=x", b"--x\r\nA: b\r\n\r\n1\r\n--x--\r\n"),
    "empty": ("multipart/form-data; boundary=x", b""),
    "bytes": ("multipart/form-data; boundary=x", bytes(range(256))),
    "two files": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n1\r\n' * 2 + b"--x--\r\n",
    ),
    "a long header": ("multipart/form-data; boundary=x", b"--x\r\nA: " + b"b" * 100_000 + b"\r\n\r\n1\r\n--x--\r\n"),
    "many fields": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n' * 100 + b"--x--\r\n",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_upload_is_a_bad_request(client: OpenAI, case: str) -> None:
    content_type, body = MALFORMED[case]

    headers = {"Content-Type": content_type, "Authorization": f"Bearer {client.api_key}"}
    answer = httpx2.post(f"{client.base_url}files", content=body, headers=headers)

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_another_media_type_is_refused(client: OpenAI) -> None:
    with pytest.raises(APIStatusError) as refused:
        client.post("/files", cast_to=object, body={"purpose": "batch"})

    assert refused.value.status_code == 415


def test_keys_and_scopes_are_asked_for(site: Site, client: OpenAI) -> None:
    reader = site.client(None, Scope.JOBS_READ)
    stranger = OpenAI(base_url=f"{site.url}/v1", api_key="nonsense", max_retries=0)
    site.clients.append(stranger)
    file_id = upload(client)

    with pytest.raises(PermissionDeniedError):
        upload(reader)
    with pytest.raises(PermissionDeniedError):
        reader.files.delete(file_id)
    with pytest.raises(AuthenticationError):
        stranger.files.list()
    assert reader.files.list().data == []


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_file_that_is_deleted_while_it_is_read_does_not_end_as_if_it_were_whole(
    site: Site, client: OpenAI, encoding: str
) -> None:
    file_id = upload(client, os.urandom(40 * files.CHUNK_BYTES))
    headers = {"Authorization": f"Bearer {client.api_key}", "Accept-Encoding": encoding}

    with httpx2.stream("GET", f"{site.url}/v1/files/{file_id}/content", headers=headers) as response:
        received = response.iter_bytes(1000)
        next(received)
        client.files.delete(file_id)

        with pytest.raises(httpx2.RemoteProtocolError):
            sum(map(len, received))


def test_a_file_that_is_deleted_before_its_batch_is_read_is_no_batch_of_fewer_lines(site: Site, client: OpenAI) -> None:
    line = json.dumps({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {}}).encode()
    file_id = upload(client, line + b"\n" * (2 * files.CHUNK_BYTES))
    named = FileChunk.file_id == uuid.UUID(file_id.removeprefix("file-"))
    with site.database.transaction() as session:
        session.execute(delete(FileChunk).where(named, FileChunk.number == 1))

    with pytest.raises(NotFoundError, match="No such File object"):
        client.batches.create(input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h")
    assert client.batches.list().data == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "multipart/form-data; boundary=x; charset=undefined"}, 400),
        ({"Content-Type": "multipart/form-data; boundary=x", "Content-Encoding": "gzip"}, 415),
    ],
)
def test_an_upload_that_cannot_be_read_is_told_so(
    site: Site, client: OpenAI, headers: dict[str, str], status: int
) -> None:
    parts = [b'name="purpose"\r\n\r\nbatch', b'name="file"; filename="a"\r\n\r\n{}']
    content = b"".join(b"--x\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + b"--x--\r\n"

    named = {"Authorization": f"Bearer {client.api_key}", **headers}
    answer = httpx2.post(f"{site.url}/v1/files", content=content, headers=named)

    assert answer.status_code == status, answer.text
    assert client.files.list().data == []
