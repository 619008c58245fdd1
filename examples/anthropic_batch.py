"""A batch script as it is written for Anthropic; only `base_url` is another one.

    ANTHROPIC_API_KEY=$(cat .padserve/api_key) python examples/anthropic_batch.py http://127.0.0.1:8000

`metadata.user_id` names whose profile steers the text; who has none is written for unguided.
"""

import sys
import time

from anthropic import Anthropic


def main(base_url: str, poll_seconds: float = 2.0) -> int:
    """Have requests answered and print the answers; 0 where every request has one."""
    client = Anthropic(base_url=base_url)
    model = next(iter(client.models.list())).id
    batch = client.messages.batches.create(
        requests=[
            {
                "custom_id": f"letter-{user}",
                "params": {
                    "model": model,
                    "max_tokens": 60,
                    "metadata": {"user_id": user},
                    "messages": [{"role": "user", "content": "Write two sentences about our new tea."}],
                },
            }
            for user in ("ada", "bob", "eve")
        ]
    )
    while batch.processing_status != "ended":
        time.sleep(poll_seconds)
        batch = client.messages.batches.retrieve(batch.id)
    for line in client.messages.batches.results(batch.id):
        match line.result.type:
            case "succeeded":
                text = "".join(block.text for block in line.result.message.content if block.type == "text")
                print(f"{line.custom_id}: {text}")
            case "errored":
                print(f"{line.custom_id}: {line.result.error.error.message}", file=sys.stderr)
            case other:
                print(f"{line.custom_id}: {other}", file=sys.stderr)
    counts = batch.request_counts
    return 0 if not counts.errored + counts.canceled + counts.expired else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"))
