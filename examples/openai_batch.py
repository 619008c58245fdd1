"""A batch script as it is written for OpenAI; only `base_url` is another one.

    OPENAI_API_KEY=$(cat .padserve/api_key) python examples/openai_batch.py http://127.0.0.1:8000/v1

`user` names whose profile steers the text; who has none is written for unguided.
"""

import json
import sys
import time

from openai import OpenAI

ENDED = {"completed", "failed", "expired", "cancelled"}


def main(base_url: str, poll_seconds: float = 2.0) -> int:
    """Upload requests, have them answered, print the answers; 0 where every request has one."""
    client = OpenAI(base_url=base_url)
    model = next(iter(client.models.list())).id
    lines = [
        {
            "custom_id": f"letter-{user}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": model,
                "user": user,
                "max_tokens": 60,
                "messages": [{"role": "user", "content": "Write two sentences about our new tea."}],
            },
        }
        for user in ("ada", "bob", "eve")
    ]
    content = "\n".join(json.dumps(line) for line in lines).encode()
    file = client.files.create(file=("letters.jsonl", content), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"about": "tea"}
    )
    while batch.status not in ENDED:
        time.sleep(poll_seconds)
        batch = client.batches.retrieve(batch.id)
    for error in (batch.errors.data or []) if batch.errors else []:
        print(f"line {error.line}: {error.message}", file=sys.stderr)
    if batch.output_file_id:
        for line in client.files.content(batch.output_file_id).text.splitlines():
            answer = json.loads(line)
            text = answer["response"]["body"]["choices"][0]["message"]["content"]
            print(f"{answer['custom_id']}: {text}")
    return 0 if batch.status == "completed" and not batch.error_file_id else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000/v1"))
