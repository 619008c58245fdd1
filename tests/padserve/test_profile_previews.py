"""What guided each token, for people who import or type: `client.profiles.preview` and `padserve try --tokens`."""

import asyncio
import json

from padserve import AsyncClient
from tests.padserve.command_line import Run
from tests.padserve.decoding_server import decoding
from tests.padserve.running_api import Server


def test_both_clients_show_each_text_with_what_guided_its_tokens(server: Server) -> None:
    async def previewed() -> object:
        async with AsyncClient(server.url, server.api_key) as client:
            return await client.profiles.preview("ada", "Hi", variants=[{"strength": 1.0}], token_rewards=True)

    with server.client() as client, decoding(server):
        client.profiles.put("ada", principles=["formal"])
        shown = client.profiles.preview("ada", "Hi", variants=[{"strength": 1.0}], token_rewards=True)
        assert asyncio.run(previewed()) == shown

    (text,) = shown.data
    assert (text.text, text.strength, shown.complete) == ("HI", 1.0, True)
    assert text.token_rewards is not None
    (token,) = text.token_rewards.tokens
    assert (token.text, token.reward, token.is_changed) == ("HO", 1.0, True)
    assert [each.text for each in token.candidates] == ["HI", "HO"]


def test_try_shows_a_line_for_each_token(padserve: Run, server: Server) -> None:
    with server.client() as client, decoding(server):
        client.profiles.put("ada", principles=["formal"])
        tried = padserve("try", "Hi", "--user", "ada", "--strength", "0,1", "--tokens")
        as_json = padserve("try", "Hi", "--user", "ada", "--tokens", "--json")

    assert tried.exit_code == 0
    lines = [line.split() for line in tried.output.splitlines() if "'HO'" in line]
    assert lines == [["'HO'", "+1.00", "13.5", "%", "90.5", "%", "0.50", "cut", "'HI'"]] * 2
    assert [each["method"] for each in json.loads(as_json.output)["data"]] == ["none", None]
