#!/usr/bin/env python3
"""Turns a capture of a terminal into an SVG picture.

    tmux capture-pane -e -p -t console | scripts/capture.py > docs/console.svg

Reads lines with SGR sequences (16 colours, 256 colours, 24-bit, bold, dim, underline, reverse) and draws every cell
where it stood. Half-blocks become rectangles, so that pictures have no seams; everything else is text.
"""

import re
import sys
import unicodedata
from html import escape

CELL_W, CELL_H, PAD = 8.4, 18, 12
BACKGROUND, FOREGROUND = "#12161c", "#d5dae2"
ANSI = [
    "#1c2129", "#e0565b", "#7fc06e", "#d9a94a", "#5b9be0", "#b37bd6", "#4fb8b8", "#c3c9d2",
    "#5c6673", "#f07a7e", "#9ad98a", "#f0c56a", "#83b8f0", "#cf9cec", "#74d4d4", "#ffffff",
]
SGR = re.compile(r"\x1b\[([0-9;:]*)m")
OTHER = re.compile(r"\x1b(\][^\x07\x1b]*(\x07|\x1b\\)|\[[0-9;?]*[A-Za-ln-z]|[()][A-Z0-9])")


def colour_256(number):
    if number < 16:
        return ANSI[number]
    if number >= 232:
        return "#" + f"{8 + 10 * (number - 232):02x}" * 3
    levels = [0, 95, 135, 175, 215, 255]
    red, green, blue = (number - 16) // 36, (number - 16) // 6 % 6, (number - 16) % 6
    return f"#{levels[red]:02x}{levels[green]:02x}{levels[blue]:02x}"


class Style:
    def __init__(self):
        self.reset()

    def reset(self):
        self.fg = self.bg = None
        self.bold = self.dim = self.underline = self.reverse = False

    def apply(self, parameters):
        codes = [int(code or 0) for code in re.split("[;:]", parameters)] if parameters else [0]
        while codes:
            code = codes.pop(0)
            if code == 0:
                self.reset()
            elif code == 1:
                self.bold = True
            elif code == 2:
                self.dim = True
            elif code == 4:
                self.underline = True
            elif code == 7:
                self.reverse = True
            elif code == 22:
                self.bold = self.dim = False
            elif code == 24:
                self.underline = False
            elif code == 27:
                self.reverse = False
            elif 30 <= code <= 37:
                self.fg = ANSI[code - 30]
            elif 90 <= code <= 97:
                self.fg = ANSI[code - 82]
            elif 40 <= code <= 47:
                self.bg = ANSI[code - 40]
            elif 100 <= code <= 107:
                self.bg = ANSI[code - 92]
            elif code == 39:
                self.fg = None
            elif code == 49:
                self.bg = None
            elif code in (38, 48) and codes:
                kind = codes.pop(0)
                if kind == 5 and codes:
                    value = colour_256(codes.pop(0))
                elif kind == 2 and len(codes) >= 3:
                    value = "#{:02x}{:02x}{:02x}".format(*codes[:3])
                    del codes[:3]
                else:
                    continue
                if code == 38:
                    self.fg = value
                else:
                    self.bg = value

    def colours(self):
        fg, bg = self.fg or FOREGROUND, self.bg
        if self.reverse:
            fg, bg = bg or BACKGROUND, fg
        return fg, bg


def cells(line, style):
    """Yields (text, columns, foreground, background, bold, dim, underline) for every cell."""
    place = 0
    for match in list(SGR.finditer(line)) + [None]:
        end = match.start() if match else len(line)
        for letter in line[place:end]:
            if unicodedata.combining(letter):
                continue
            wide = 2 if unicodedata.east_asian_width(letter) in "WF" else 1
            yield (letter, wide, *style.colours(), style.bold, style.dim, style.underline)
        if match:
            style.apply(match.group(1))
            place = match.end()


def rectangle(x, y, width, height, fill):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"/>'


def merged(rectangles):
    """Joins neighbours of one colour in a row."""
    joined = []
    for x, y, width, height, fill in rectangles:
        if joined:
            before = joined[-1]
            if before[1:] == [y, before[2], height, fill] and abs(before[0] + before[2] - x) < 0.01:
                before[2] += width
                continue
        joined.append([x, y, width, height, fill])
    return joined


def draw(text):
    lines = OTHER.sub("", text).rstrip("\n").split("\n")
    style, shapes, words, widest = Style(), [], [], 0
    for row, line in enumerate(lines):
        column, upper, lower, runs = 0, [], [], []
        for letter, wide, fg, bg, bold, dim, underline in cells(line, style):
            x, y = PAD + column * CELL_W, PAD + row * CELL_H
            width = wide * CELL_W
            if letter == "▀":
                upper.append((x, y, width, CELL_H / 2, fg))
                if bg:
                    lower.append((x, y + CELL_H / 2, width, CELL_H / 2, bg))
            else:
                if bg:
                    upper.append((x, y, width, CELL_H / 2, bg))
                    lower.append((x, y + CELL_H / 2, width, CELL_H / 2, bg))
                if letter == "█":
                    upper.append((x, y, width, CELL_H / 2, fg))
                    lower.append((x, y + CELL_H / 2, width, CELL_H / 2, fg))
                elif letter in "▁▂▃▄▅▆▇":
                    height = CELL_H * ("▁▂▃▄▅▆▇".index(letter) + 1) / 8
                    shapes.append([x, y + CELL_H - height, width, height, fg])
                elif letter != " ":
                    look = (fg, bold, dim, underline)
                    if runs and runs[-1][0] == look and runs[-1][3] == column and wide == 1:
                        runs[-1][2] += letter
                        runs[-1][3] += 1
                    else:
                        runs.append([look, column, letter, column + wide])
            column += wide
        widest = max(widest, column)
        shapes += merged(upper) + merged(lower)
        words += [(row, *run[:3], run[3] - run[1]) for run in runs]
    width, height = widest * CELL_W + 2 * PAD, len(lines) * CELL_H + 2 * PAD
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img"'
        ' aria-label="The console of sightline"'
        ' font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" font-size="14">',
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
        '<g shape-rendering="crispEdges">',
        *(rectangle(*shape) for shape in shapes),
        "</g>",
    ]
    for row, (fg, bold, dim, underline), column, letters, columns in words:
        more = ' font-weight="bold"' if bold else ""
        more += ' opacity="0.65"' if dim else ""
        more += ' text-decoration="underline"' if underline else ""
        x, y = PAD + column * CELL_W, PAD + row * CELL_H + CELL_H * 0.72
        out.append(
            f'<text x="{x:.1f}" y="{y:.1f}" fill="{fg}" textLength="{columns * CELL_W:.1f}"'
            f' lengthAdjust="spacingAndGlyphs" xml:space="preserve"{more}>{escape(letters)}</text>'
        )
    out.append("</svg>")
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    sys.stdout.write(draw(sys.stdin.buffer.read().decode("utf-8", "replace")))
