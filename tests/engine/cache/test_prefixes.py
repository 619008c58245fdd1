from worker.engine.cache.prefixes import GOOD_ENOUGH, MIN_TOKENS, Prefixes, PrefixKey
from worker.engine.layers.attention import SharedPrefix
from worker.engine.streams import StreamWeights

BASE, POLICY = StreamWeights(0), StreamWeights(0, adapter=1)


def tokens(num_tokens: int, first: int = 0) -> tuple[int, ...]:
    return tuple(range(first, first + num_tokens))


COMMON = tokens(20)


def waiting(*prompts: tuple[int, ...], max_tokens: int = 1000) -> Prefixes:
    prefixes = Prefixes(max_tokens)
    for prompt in prompts:
        prefixes.add(BASE, prompt)
    return prefixes


def read(prefixes: Prefixes, token_ids: tuple[int, ...], weights: StreamWeights = BASE) -> SharedPrefix:
    prefix = SharedPrefix(weights.adapter, token_ids, keys={}, values={})
    prefixes.keep(PrefixKey(weights, token_ids), prefix)
    return prefix


def test_what_several_prompts_begin_with_is_missing_until_it_was_read() -> None:
    prompts = [(*COMMON, 90), (*COMMON, 91, 92), (*COMMON, 93)]
    prefixes = waiting(*prompts)

    missing = prefixes.missing(BASE, prompts[0])
    prefix = read(prefixes, COMMON)

    assert missing == PrefixKey(BASE, COMMON)
    for prompt in prompts:
        assert prefixes.missing(BASE, prompt) is None
        assert prefixes.find(BASE, prompt) is prefix


def test_a_prompt_alone_misses_nothing() -> None:
    prefixes = waiting((*COMMON, 90), (90, *COMMON))

    assert prefixes.missing(BASE, (*COMMON, 90)) is None


def test_who_waits_no_more_is_not_counted() -> None:
    first, second = (*COMMON, 90), (*COMMON, 91)
    prefixes = waiting(first, second, first)

    prefixes.remove(BASE, first)
    two_left = prefixes.missing(BASE, second)
    prefixes.remove(BASE, first)

    assert two_left == PrefixKey(BASE, COMMON)
    assert prefixes.missing(BASE, second) is None


def test_a_prompt_that_came_again_is_counted_again() -> None:
    prompt = (*COMMON, 90)
    prefixes = waiting(prompt)

    prefixes.remove(BASE, prompt)
    prefixes.add(BASE, prompt)
    prefixes.add(BASE, prompt)

    assert prefixes.missing(BASE, prompt) == PrefixKey(BASE, COMMON)


def test_a_prefix_that_is_hardly_shorter_to_read_is_not_worth_it() -> None:
    short = tokens(MIN_TOKENS - 1)
    prefixes = waiting((*short, 90), (*short, 91))
    enough = waiting((*short, 50, 90), (*short, 50, 91))

    assert prefixes.missing(BASE, (*short, 90)) is None
    assert enough.missing(BASE, (*short, 50, 90)) == PrefixKey(BASE, (*short, 50))


def test_the_prefix_that_spares_the_most_tokens_is_preferred() -> None:
    longer = (*COMMON, *tokens(5, first=40))
    many = [(*COMMON, 60 + index) for index in range(8)]
    few = [(*longer, 80), (*longer, 81)]

    among_many = waiting(*many, *few)  # 9 prompts are spared 20 tokens, or 1 prompt 25
    among_few = waiting(*many[:1], *few, (*longer, 82), (*longer, 83))  # 4 are spared 20, or 3 are spared 25

    assert among_many.missing(BASE, few[0]) == PrefixKey(BASE, COMMON)
    assert among_few.missing(BASE, few[0]) == PrefixKey(BASE, COMMON)
    assert among_few.missing(BASE, many[0]) == PrefixKey(BASE, COMMON)
    assert waiting(*many[:1], *few, *few, *few).missing(BASE, few[0]) == PrefixKey(BASE, longer)


def test_a_prefix_that_was_read_is_good_enough_if_it_is_most_of_the_best() -> None:
    prompts = [(*COMMON, 90), (*COMMON, 91)]
    almost = int(GOOD_ENOUGH * len(COMMON))
    generous, strict = waiting(*prompts), waiting(*prompts)

    read(generous, COMMON[:almost])
    read(strict, COMMON[: almost - 1])

    assert generous.missing(BASE, prompts[0]) is None
    assert strict.missing(BASE, prompts[0]) == PrefixKey(BASE, COMMON)


def test_the_longest_prefix_that_was_read_is_found() -> None:
    prefixes = waiting()
    short, long = read(prefixes, COMMON[:10]), read(prefixes, COMMON)

    assert prefixes.find(BASE, (*COMMON, 90)) is long
    assert prefixes.find(BASE, COMMON[:15]) is short
    assert prefixes.find(BASE, (90, *COMMON)) is None


def test_a_prompt_keeps_at_least_one_token_to_run() -> None:
    prefixes = waiting(COMMON, COMMON, COMMON)

    missing = prefixes.missing(BASE, COMMON)
    read(prefixes, COMMON)

    assert missing == PrefixKey(BASE, COMMON[:-1])
    assert prefixes.find(BASE, COMMON) is None


def test_weights_do_not_share_prefixes() -> None:
    prompt = (*COMMON, 90)
    prefixes = waiting(prompt)
    prefixes.add(POLICY, prompt)

    alone = prefixes.missing(BASE, prompt)
    prefixes.add(BASE, prompt)
    read(prefixes, COMMON, POLICY)

    assert alone is None
    assert prefixes.missing(BASE, prompt) == PrefixKey(BASE, COMMON)
    assert prefixes.find(BASE, prompt) is None
    assert prefixes.find(POLICY, prompt) is not None


def test_the_least_used_prefixes_are_forgotten_first() -> None:
    prefixes = waiting(max_tokens=30)
    first, second = read(prefixes, tokens(10)), read(prefixes, tokens(10, first=20))

    prefixes.find(BASE, (*tokens(10), 90))  # the first is used again
    third = read(prefixes, tokens(15, first=40))

    assert prefixes.find(BASE, (*first.token_ids, 90)) is first
    assert prefixes.find(BASE, (*second.token_ids, 90)) is None
    assert prefixes.find(BASE, (*third.token_ids, 90)) is third


def test_a_prefix_above_the_limit_is_kept_for_those_who_wait_for_it() -> None:
    prefixes = waiting(max_tokens=10)

    read(prefixes, tokens(5, first=40))
    prefix = read(prefixes, COMMON)

    assert prefixes.find(BASE, (*COMMON, 90)) is prefix
    assert prefixes.find(BASE, (*tokens(5, first=40), 90)) is None


def test_everything_that_was_read_can_be_forgotten_but_not_who_waits() -> None:
    prompts = [(*COMMON, 90), (*COMMON, 91)]
    prefixes = waiting(*prompts)
    read(prefixes, COMMON)

    prefixes.forget()

    assert prefixes.find(BASE, prompts[0]) is None
    assert prefixes.missing(BASE, prompts[0]) == PrefixKey(BASE, COMMON)
