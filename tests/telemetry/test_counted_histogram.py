"""Many equal observations at once are what the library's histogram makes of each."""

from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics, generate_latest

from telemetry.metrics import CountedHistogram

BOUNDS = (0.1, 1, 60)


def test_it_shows_what_the_librarys_histogram_shows() -> None:
    disable_created_metrics()  # type: ignore[no-untyped-call] # the library's, untyped
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    one_by_one = Histogram("wait_seconds", "Time.", buckets=BOUNDS, registry=theirs)
    at_once = CountedHistogram("wait_seconds", "Time.", BOUNDS)
    ours.register(at_once)

    for value, times in ((0.0, 3), (0.1, 2), (0.5, 1), (60, 4), (100, 5)):
        at_once.observe(value, times)
        for _ in range(times):
            one_by_one.observe(value)

    assert generate_latest(ours) == generate_latest(theirs)
