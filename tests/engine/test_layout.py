import torch

from worker.engine.batch_layout import ends, piece_block, written
from worker.engine.rows import PromptChunk, Row


def piece(name: str, num_tokens: int, *, start: int = 0, is_last: bool = True) -> PromptChunk:
    return PromptChunk((name, 0), adapter=0, token_ids=tuple(range(num_tokens)), start=start, is_last=is_last)


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
