"""What every author's texts are asked for: topics that none of their texts is about. Knows words alone."""

# Strength, budget and the way to show examples are chosen on these ...
VALIDATION_PROMPTS = (
    "Write a short message that tells a customer that their table for two is reserved for Friday evening.",
    "Write a short advertisement for a reusable water bottle.",
    "Explain in two or three sentences why the sky is blue.",
    "Write a short note to neighbours about a street party on Sunday.",
    "Write a short reply to a guest who complained about a noisy hotel room.",
)
# ... and everything that is reported is measured on these.
TEST_PROMPTS = (
    "Write a short message that tells a customer that their laptop has been repaired.",
    "Write a short message that tells a subscriber that the price of their plan goes up next month.",
    "Write a short reply to a customer who asks how to change their delivery address.",
    "Write a short message that thanks a customer for their first order.",
    "Write a short apology for a website that was down last night.",
    "Write a short message that asks a guest to review their stay.",
    "Write a short message that tells tenants that the water is turned off on Wednesday morning.",
    "Write a short advertisement for a pair of wireless headphones.",
    "Write a short advertisement for a weekend trip to the mountains.",
    "Write a short advertisement for a guitar course for beginners.",
    "Write a short advertisement for a new kind of herbal tea.",
    "Write a short announcement of an open-air film night in the park.",
    "Write a short invitation to a free talk about saving energy at home.",
    "Explain in two or three sentences how a vaccine works.",
    "Explain in two or three sentences why leaves change their colour in autumn.",
    "Explain in two or three sentences how to boil an egg.",
    "Explain in two or three sentences what inflation is.",
    "Explain in two or three sentences why we sleep.",
    "Explain in two or three sentences how to change a bicycle tyre.",
    "Explain in two or three sentences what a cookie on a website is.",
)
