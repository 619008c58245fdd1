"""Prompts in languages whose words a guide's tokenizer cuts otherwise than a base's does. Text only."""

from collections.abc import Mapping

ASKED_IN: Mapping[str, tuple[str, ...]] = {
    "Thai": (
        "เขียนข้อความสั้น ๆ บอกลูกค้าว่าพัสดุจะมาถึงช้าสองวัน",
        "เขียนข้อความต้อนรับพนักงานใหม่เข้าสู่ทีมของเรา",
        "อธิบายว่าเข็มทิศทำงานอย่างไรให้เด็กเข้าใจ",
        "เขียนคำเชิญไปงานเลี้ยงวันเกิดในสวนสาธารณะ",
    ),
    "Japanese": (
        "荷物が二日遅れることをお客様に短く伝えてください。",
        "新しい社員をチームに迎えるメッセージを書いてください。",
        "コンパスの仕組みを子どもにわかるように説明してください。",
        "公園での誕生日パーティーへの招待状を書いてください。",
    ),
    "Hindi": (
        "ग्राहक को बताइए कि उसका पार्सल दो दिन देर से आएगा।",
        "टीम में नए कर्मचारी के स्वागत का संदेश लिखिए।",
        "बच्चे को समझाइए कि दिशासूचक कैसे काम करता है।",
        "पार्क में जन्मदिन की पार्टी का निमंत्रण लिखिए।",
    ),
    "Python": (
        "Write a Python function that returns the n-th Fibonacci number, with a docstring and type hints.",
        "Write a Python class for a bank account with deposit, withdraw and a __repr__ method.",
        "Write a Python script that counts the words of a file with collections.Counter and argparse.",
        "Write a regular expression in Python that finds dates like 2024-03-17, and test it on ten dates.",
    ),
}
"""By language, of texts or of programs."""
