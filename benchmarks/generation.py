"""Tokens a second of the engines `transformers` and `vllm` on the same requests, side by side.

In: news items, the embedded 135M model (prepared where it is not yet), both environments (`make setup generate`).
Out: a table, and as the last line a JSON object with `vllm_vs_transformers` (tokens a second, the best batch size of
each) and `prefix_cache_share` (share of the prompt tokens that vLLM took from its prefix cache).
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from measuring import ROOT, prepare_model

PYTHON = {"transformers": ROOT / ".venv/bin/python", "vllm": ROOT / ".venv-generate/bin/python"}
ASK = "{news}\n\nWrite this news anew in your own words, and leave nothing out."


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and do the work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--news", type=Path, default=ROOT / "data/new_news/events.yaml")
    parser.add_argument("--items", type=int, default=2)
    parser.add_argument("--samples", type=int, default=32, help="of each item")
    parser.add_argument("--new-tokens", type=int, default=64, help="at most, of a sample")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--folder", type=Path, default=ROOT / "results/benchmarks", help="of the prepared model")
    parser.add_argument("--engine", choices=sorted(PYTHON), help="measure this one only, in this process")
    args = parser.parse_args(argv)
    if args.engine:
        print(json.dumps(measure(args, args.engine, args.batch_sizes[0])))
    else:
        compare(args)


def compare(args: argparse.Namespace) -> None:
    """Each engine and batch size in a process of its own, one after the other."""
    if missing := [str(python) for python in PYTHON.values() if not python.exists()]:
        sys.exit(f"there is no {missing[0]}: run `make setup generate`")
    prepare_model(args.folder)
    if os.getloadavg()[0] > 0.5:
        print(f"the machine is busy (load {os.getloadavg()[0]:.1f}): do not trust what follows", file=sys.stderr)
    row = "{:<14}{:>12}{:>10}{:>10}{:>12}{:>14}{:>10}".format
    print(row("engine", "batch size", "start s", "run s", "tokens", "tokens/s", "cached"))
    best: dict[str, dict[str, Any]] = {}
    # Taking turns: what else the machine does meets both.
    for batch_size in args.batch_sizes:
        for engine in PYTHON:
            found = measure_apart(args, engine, batch_size)
            seconds = (f"{found['start']:.1f}", f"{found['run']:.1f}")
            speed = (f"{found['speed']:.0f}", f"{found['cached']:.0%}")
            print(row(engine, batch_size, *seconds, found["tokens"], *speed), flush=True)
            best[engine] = max(best.get(engine, found), found, key=lambda found: found["speed"])
    ratio = best["vllm"]["speed"] / best["transformers"]["speed"]
    share = best["vllm"]["cached"]
    print(json.dumps({"vllm_vs_transformers": round(ratio, 3), "prefix_cache_share": round(share, 3)}))


def measure_apart(args: argparse.Namespace, engine: str, batch_size: int) -> dict[str, Any]:
    """The same measurement in the engine's own environment."""
    command = [PYTHON[engine], __file__, "--engine", engine, "--batch-sizes", batch_size, "--news", args.news]
    command += ["--items", args.items, "--samples", args.samples, "--new-tokens", args.new_tokens]
    command += ["--folder", args.folder]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{engine} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(args: argparse.Namespace, engine: str, batch_size: int) -> dict[str, Any]:
    """Seconds to start and to run, tokens written, and the share of prompt tokens from a cache."""
    from sys2ft.chat import user
    from sys2ft.news.items import load_news
    from sys2ft.settings.catalogue import TeacherSettings
    from sys2ft.study.engines import open_engine
    from sys2ft.study.requests import Request, complete

    requests = [
        Request(item.id, "write", n, range(1), (user(ASK.format(news=item.text)),), args.new_tokens, 1000 * i + n)
        for i, item in enumerate(load_news(args.news).items[: args.items])
        for n in range(args.samples)
    ]
    begun = time.monotonic()
    opened = open_engine(TeacherSettings(engine=engine, batch_size=batch_size), args.folder / "model.json", "benchmark")
    complete(opened, [Request("warm up", "write", 0, range(1), (user("Say something."),), 8, 1)])
    started = time.monotonic()
    samples = complete(opened, requests)
    run = time.monotonic() - started
    tokens = sum(sample.completion_tokens or 0 for sample in samples)
    cached = sum(sample.cached_tokens or 0 for sample in samples)
    prompts = sum(sample.prompt_tokens or 0 for sample in samples)
    figures = {"start": started - begun, "run": run, "tokens": tokens, "speed": tokens / run}
    return figures | {"cached": cached / prompts}


if __name__ == "__main__":
    main()
