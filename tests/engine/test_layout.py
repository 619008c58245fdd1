import random

import torch

from worker.engine.batch_layout import PromptChunk, Row, compacted, ends, piece_block, written


def piece(name: str, num_tokens: int, *, start: int = 0, is_last: bool = True) -> PromptChunk:
    return PromptChunk((name, 0), adapter=0, token_ids=tuple(range(num_tokens)), start=start, is_last=is_last)


def test_rows_that_decode_stay_in_front_and_none_is_lost() -> None:
    rng = random.Random(0)
    for _ in range(200):
        num_rows = rng.randint(1, 40)
        num_decoding = rng.randint(0, num_rows)
        kept = sorted(rng.sample(range(num_rows), rng.randint(0, num_rows)))
        lengths = [rng.randint(1, 300) for _ in range(num_rows)]

        order = compacted(kept, num_decoding, lengths, rng.randint(1, 12))

        num_kept_decoding = sum(row < num_decoding for row in kept)
        assert sorted(order) == kept
        assert sorted(order[:num_kept_decoding]) == [row for row in kept if row < num_decoding]
        assert order[num_kept_decoding:] == [row for row in kept if row >= num_decoding]
        # What moves comes from further back: copies in ascending order overwrite nothing that is still to be read.
        assert all(source >= target for target, source in enumerate(order))


def test_a_hole_is_filled_with_the_longest_row_of_the_next_block_and_so_on() -> None:
    lengths = [90, 80, 70, 30, 60, 50, 20, 10]

    order = compacted([0, 2, 3, 4, 5, 6, 7], 8, lengths, block=3)

    assert order == [0, 4, 2, 3, 6, 5, 7]


def test_pieces_lie_behind_one_another_in_the_line_and_pad_themselves() -> None:
    pieces = [piece("a", 3), piece("b", 1, start=4)]
    rows = [Row(("a", 0), 0, None), Row(("b", 0), 0, None)]

    block = piece_block(pieces, rows, first_row=2, first_token=2, num_keys=5, device=torch.device("cpu"))

    assert block.tokens is not None
    assert block.places is not None
    assert block.tokens.tolist() == [[2, 3, 4], [5, 5, 5]]
    assert block.columns.tolist() == [[0, 1, 2], [4, 4, 4]]
    assert block.places.tolist() == [0, 1, 2, 3]
    assert not block.starts_rows
    of_rows, of_columns = written([block], torch.device("cpu"))
    assert (of_rows.tolist(), of_columns.tolist()) == ([2, 2, 2, 3], [0, 1, 2, 4])


def test_the_last_tokens_of_prompts_that_are_read_are_found_in_the_line() -> None:
    assert ends([piece("a", 3), piece("b", 2), piece("c", 4, is_last=False)], first_token=10) == [12, 14]
