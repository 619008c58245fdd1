"""What is asked for while pairs are made: kinds of text over topics. None of these is a prompt of the evaluation."""

import random

KINDS: tuple[str, ...] = (
    "Write a short message that tells customers about {}.",
    "Write a short text for a website about {}.",
    "Explain in a few sentences why {} matters.",
    "Describe {} to a reader who has never heard of it.",
    "Write an invitation to an event about {}.",
    "Write a few lines of a newsletter about {}.",
    "Give advice to somebody who is interested in {}.",
    "Answer a customer who asks about {}.",
    "Write a short advertisement for {}.",
    "Tell a colleague what is new about {}.",
    "What should people know about {}?",
    "Write a product description for {}.",
    "Sum up the main points about {}.",
    "Write a reminder about {}.",
)

TOPICS: tuple[str, ...] = (
    "a neighbourhood bakery",
    "rainwater barrels",
    "a weekend pottery class",
    "night trains",
    "a subscription for coffee beans",
    "bicycle repair",
    "a museum of clocks",
    "electric scooters",
    "home insulation",
    "a choir for beginners",
    "wool blankets",
    "a lost parcel",
    "a change of the opening hours",
    "a broken lift",
    "a garden of herbs",
    "hiking boots",
    "a language exchange",
    "solar panels",
    "a second-hand bookshop",
    "first aid at work",
    "a new bus line",
    "an online chess club",
    "beekeeping",
    "a film night in the park",
    "healthy breakfasts",
    "a reusable water bottle",
    "a late refund",
    "board games for families",
    "sleep and screens",
    "a mountain hut",
    "a repair café",
    "the price of train tickets",
    "a swimming course",
    "an app for budgets",
    "indoor plants",
    "street musicians",
    "a power cut tonight",
    "warm gloves",
    "volunteer work in a library",
    "how tides work",
    "a dentist's appointment",
    "composting at home",
    "a city marathon",
    "a printer that jams",
    "local cheese",
    "learning to juggle",
    "a shared office",
    "winter tyres",
    "the history of bridges",
    "password managers",
)


def prompts(seed: int, count: int) -> list[str]:
    """So many different prompts, drawn by the seed."""
    every = [kind.format(topic) for kind in KINDS for topic in TOPICS]
    return random.Random(seed).sample(every, count)
