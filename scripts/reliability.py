#!/usr/bin/env python3
"""Writes the campaigns' outcomes into the table of docs/reliability.md.

    reliability.py target/torture.jsonl docs/reliability.md

The file has one JSON object a line, as the campaigns under tests/it print them. A campaign that ran in several pieces, each
with a seed of its own, is added up; of two runs with the same seed the later counts. A campaign that is not in the file
keeps the row it has.
"""

import json
import sys

BEGIN, END = "<!-- campaigns -->", "<!-- /campaigns -->"
HEAD = ["| promise | campaign | figure | seconds | date |", "|---|---|---|---|---|"]


def row(line):
    """One row; the first cell but one names the campaign."""
    outcomes = "; ".join(f"{what}: {count:,}" for what, count in sorted(line["outcomes"].items()))
    figure = f"{line['failed']:,} of {line['runs']:,} failed ({outcomes})"
    return f"| {line['promise']} | `{line['campaign']}` | {figure} | {line['seconds']:,} | {line['date']} |"


def whole(pieces):
    """One line for the pieces of a campaign."""
    together = dict(pieces[-1])
    outcomes = {}
    for piece in pieces:
        for what, count in piece["outcomes"].items():
            outcomes[what] = outcomes.get(what, 0) + count
    for key in ("runs", "failed", "seconds"):
        together[key] = sum(piece[key] for piece in pieces)
    return together | {"outcomes": outcomes, "seconds": round(together["seconds"], 1)}


def main():
    """Replaces the rows of the campaigns that ran."""
    source, page = sys.argv[1:]
    with open(page, encoding="utf-8") as file:
        text = file.read()
    before, rest = text.split(BEGIN)
    table, after = rest.split(END)
    rows, pieces = {}, {}
    for line in table.splitlines():
        cells = line.split("|")
        if len(cells) > 3 and cells[2].strip().startswith("`"):
            rows[cells[2].strip().strip("`")] = line
    with open(source, encoding="utf-8") as file:
        for line in filter(str.strip, file):
            line = json.loads(line)
            pieces.setdefault(line["campaign"], {})[line.get("seed")] = line
    for campaign, seeds in pieces.items():
        rows[campaign] = row(whole(list(seeds.values())))
    table = "\n".join(HEAD + [rows[name] for name in sorted(rows)])
    with open(page, "w", encoding="utf-8") as file:
        file.write(f"{before}{BEGIN}\n{table}\n{END}{after}")


main()
