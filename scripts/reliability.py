#!/usr/bin/env python3
"""Writes the campaigns' outcomes into the table of docs/reliability.md.

    reliability.py target/torture.jsonl docs/reliability.md

The file has one JSON object a line, as the campaigns under tests/it print them. A campaign that is not in it keeps the
row it has.
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


def main():
    """Replaces the rows of the campaigns that ran."""
    source, page = sys.argv[1:]
    with open(page, encoding="utf-8") as file:
        text = file.read()
    before, rest = text.split(BEGIN)
    table, after = rest.split(END)
    rows = {}
    for line in table.splitlines():
        cells = line.split("|")
        if len(cells) > 3 and cells[2].strip().startswith("`"):
            rows[cells[2].strip().strip("`")] = line
    with open(source, encoding="utf-8") as file:
        for line in filter(str.strip, file):
            line = json.loads(line)
            rows[line["campaign"]] = row(line)
    table = "\n".join(HEAD + [rows[name] for name in sorted(rows)])
    with open(page, "w", encoding="utf-8") as file:
        file.write(f"{before}{BEGIN}\n{table}\n{END}{after}")


main()
