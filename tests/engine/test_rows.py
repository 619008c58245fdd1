import random

from worker.engine.rows import PromptChunk, RowTable, compacted


def piece(name: str, num_tokens: int, *, start: int = 0, is_last: bool = True) -> PromptChunk:
    return PromptChunk((name, 0), adapter=0, token_ids=tuple(range(num_tokens)), start=start, is_last=is_last)


def place(table: RowTable, *pieces: PromptChunk) -> list[PromptChunk]:
    return table.place(pieces, lambda _prefix: False, by_length=False)


def test_a_prompt_in_pieces_has_one_row_which_decodes_behind_its_last_piece() -> None:
    table = RowTable(1, needs_equal_lengths=False)
    place(table, piece("a", 3))
    table.join()
    table.lengthen(100)

    place(table, piece("b", 2, is_last=False))
    assert (table.keys, table.lengths) == ([("a", 0)], [4, 2])
    assert not table.join()
    table.lengthen(100)
    in_order = place(table, piece("c", 1), piece("b", 2, start=2))

    assert [one.key for one in in_order] == [("b", 0), ("c", 0)]
    assert (table.keys, table.lengths) == ([("a", 0), ("b", 0), ("c", 0)], [5, 4, 1])
    assert table.join() == range(1, 3)
    assert table.num_decoding == 3


def test_rows_that_are_freed_are_filled_from_the_end_and_half_read_ones_are_named() -> None:
    table = RowTable(1, needs_equal_lengths=False)
    place(table, piece("a", 3), piece("b", 5), piece("c", 2))
    table.join()
    place(table, piece("d", 4, is_last=False))

    departure = table.without({"a"})

    assert departure is not None
    assert (departure.freed, departure.moves, departure.half_read) == ([0], [(2, 0, 2), (3, 2, 4)], [3])
    table.apply(departure)
    assert [row.key[0] for row in table.rows] == ["c", "b", "d"]
    assert (table.lengths, table.num_decoding) == ([2, 5, 4], 2)
    assert table.without({"a"}) is None


def test_rows_attend_in_so_many_blocks_or_with_those_of_their_length() -> None:
    by_number, by_length = RowTable(3, needs_equal_lengths=False), RowTable(3, needs_equal_lengths=True)
    for table in (by_number, by_length):
        place(table, piece("a", 3), piece("b", 3), piece("c", 2))
        table.join()

    assert by_number.blocks == [slice(0, 1), slice(1, 2), slice(2, 3)]
    assert by_length.blocks == [slice(0, 2), slice(2, 3)]


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
