"""The other side of bench.peers, run by the Python that has vLLM: decodes the same requests each time it is told to.

In: settings as an argument, then a line [prompts, lengths], then a line per run. Out: a line per run.
"""

import json
import sys
import time


def main() -> None:
    """Command line."""
    from vllm import LLM, SamplingParams  # type: ignore[import-not-found]  # noqa: PLC0415 (only this Python has it, and its workers import this file)

    llm = LLM(**json.loads(sys.argv[1]), enable_prefix_caching=False)
    prompts, lengths = json.loads(sys.stdin.readline())
    texts = [{"prompt_token_ids": prompt} for prompt in prompts]
    wanted = [SamplingParams(temperature=0, max_tokens=n, min_tokens=n, ignore_eos=True) for n in lengths]
    for _ in sys.stdin:
        started = time.perf_counter()
        outputs = llm.generate(texts, wanted, use_tqdm=False)
        seconds = time.perf_counter() - started
        answers = [list(output.outputs[0].token_ids) for output in outputs]
        print(json.dumps({"seconds": seconds, "answers": answers}), flush=True)


if __name__ == "__main__":
    main()
