from tests.engine.requests import pad, pad_with_reference, plain
from worker.engine import Request, Stream
from worker.engine.streams import GuidedStream, StreamWeights, guided_streams

BASE, POLICY, REFERENCE = StreamWeights(0), StreamWeights(0, adapter=1), StreamWeights(1)
WEIGHTS = {"base": BASE, "policy": POLICY, "reference": REFERENCE}
TEXT = (1, 2, 3)


def test_a_reference_equal_to_the_base_makes_two_streams() -> None:
    streams = guided_streams(Request(0, pad(TEXT), strength=0.8), WEIGHTS)

    assert streams == (
        GuidedStream(BASE, TEXT, coefficient=1 - 0.8, reward=-1.0),
        GuidedStream(POLICY, TEXT, coefficient=0.8, reward=1.0),
    )


def test_equal_streams_are_one_and_their_rewards_add_up() -> None:
    streams = (*plain(TEXT), Stream("policy", TEXT, 0.25), Stream("policy", TEXT, 0.5), Stream("base", TEXT, -0.75))

    guided = guided_streams(Request(0, streams, strength=2.0), WEIGHTS)

    assert guided == (
        GuidedStream(BASE, TEXT, coefficient=1 - 1.5, reward=-0.75),
        GuidedStream(POLICY, TEXT, coefficient=1.5, reward=0.75),
    )


def test_names_of_the_same_weights_are_the_same_stream() -> None:
    guided = guided_streams(Request(0, pad_with_reference(TEXT), strength=0.8), WEIGHTS | {"reference": BASE})

    assert guided == guided_streams(Request(0, pad(TEXT), strength=0.8), WEIGHTS)


def test_streams_whose_rewards_cancel_are_not_run() -> None:
    streams = (*plain(TEXT), Stream("policy", TEXT, 0.5), Stream("policy", TEXT, -0.5), Stream("reference", TEXT))

    guided = guided_streams(Request(0, streams, strength=1.0), WEIGHTS)

    assert guided == (GuidedStream(BASE, TEXT, coefficient=1.0, reward=0.0),)
