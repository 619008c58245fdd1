"""From a CSV of people to a CSV of texts: import, preview, dry run, job, results.

    padserve up &
    python examples/campaign_csv.py people.csv texts.csv

`people.csv`, in UTF-8, has a header with `customer`, and may have `first_name`, `city`, `segment` and `likes`, as in
"humor; short = 0.5". Any other column is left out. It finds the server as `Client()` does.
"""

import csv
import io
import os
import sys
from pathlib import Path

import httpx

from padserve import ApiError, Campaign, Client
from padserve.client.discovery import find_server

COLUMNS = {
    "customer": "user_id",
    "first_name": "attributes.first_name",
    "city": "attributes.city",
    "likes": "principles",
    "segment": "tags",
    "*": "",
}
PROMPT = "Write two sentences for {first_name|a friend of the house} in {city|your town} about our new tea."
HOLDOUT = 0.1


def main(people: Path, texts: Path, url: str | None = None, api_key: str | None = None) -> int:
    """Write for everybody in the table; 0 where each of them has a text."""
    url, api_key = find_server(os.environ, url, api_key)
    http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {api_key}"}, timeout=120)
    with http, Client(url, api_key) as client:
        if not import_people(http, people):
            return 1
        header, rows = read(people)
        place = header.index("customer")
        wanted = [row[place] for row in rows if any(row)]
        campaign = Campaign(PROMPT, user_ids=wanted)
        try:
            for user in client.campaigns.preview(campaign, n=3).data:
                print(f"{user.user_id}: {user.prompt or (user.error and user.error.message)}")
            told = client.dry_run(campaign, holdout=HOLDOUT)
            print(f"{told.num_items} items, about {told.prompt_tokens} tokens of prompt; {told.expected_seconds_basis}")
            job = client.submit(campaign, name=people.stem[:128], holdout=HOLDOUT)
        except ApiError as error:
            print(error, *error.errors, sep="\n  ", file=sys.stderr)
            return 1
        job = client.wait(job.id)
        export(http, job.id, texts)
    held_out = job.holdout.num_holdout if job.holdout else 0
    print(f"{job.counts.succeeded} of {job.counts.total} texts are in {texts}; {held_out} users got the unguided one.")
    return 0 if job.counts.succeeded == job.counts.total else 1


def import_people(http: httpx.Client, people: Path) -> bool:
    """Make profiles of the table, all or none; the same table again changes nothing."""
    columns = {"column": [f"{column}={field}" for column, field in named(people).items()]}
    answer = http.post(
        "/v1/profiles:import", params=columns, content=people.read_bytes(), headers={"Content-Type": "text/csv"}
    )
    report = answer.json()
    if answer.is_error:
        print(report["detail"], file=sys.stderr)
        for error in report.get("errors", []):
            print(f"  line {error['line']}: {error['message']}", file=sys.stderr)
        return False
    print(f"{report['num_created']} profiles are new, {report['num_updated']} changed.")
    return True


def named(people: Path) -> dict[str, str]:
    """The columns that the table has: what is said of others would be refused."""
    header, _ = read(people)
    return {column: field for column, field in COLUMNS.items() if column in header or column == "*"}


def read(people: Path) -> tuple[list[str], list[list[str]]]:
    """The header and the rows, whichever the delimiter."""
    text = people.read_text(encoding="utf-8-sig")
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    header, *rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    return [name.strip() for name in header], rows


def export(http: httpx.Client, job_id: str, texts: Path) -> None:
    """Write the results as they come, with prompts and first names, in a form that spreadsheets open."""
    shown = {"format": "csv", "include": "prompt", "attribute": "first_name", "bom": "true"}
    with http.stream("GET", f"/v1/jobs/{job_id}/results", params=shown) as answer, texts.open("wb") as file:
        answer.raise_for_status()
        for chunk in answer.iter_bytes():
            file.write(chunk)


if __name__ == "__main__":
    if len(sys.argv) != 3:  # noqa: PLR2004 - the program and two files
        sys.exit("Usage: python examples/campaign_csv.py people.csv texts.csv")
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
