"""Results: kept as JSON, printed as a table, written into docs/performance.md, drawn with gnuplot."""

import json
import os
import platform
import subprocess
import time

DOCS = "docs/performance.md"
BEGIN, END = "<!-- table: written by ./dev bench --docs -->", "<!-- end of table -->"


def number(value):
    if value is None:
        return ""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


class Results:
    """The results of this run, and those of earlier runs for benches that were not in this one. Each is saved when it is there, if
    `path` is given."""

    def __init__(self, path, short):
        self.path, self.new, self.kept = path, {}, {}
        if path and os.path.exists(path) and not short:
            with open(path) as f:
                self.kept = json.load(f)

    def add(self, bench, transport, taken):
        self.new[f"{bench.name} {transport}"] = {
            "name": bench.name, "title": bench.title, "unit": bench.unit, "transport": transport, "lower": bench.lower,
            "cpu_per": bench.cpu_per, "when": time.strftime("%Y-%m-%d"), "peers": taken}
        self.kept.update(self.new)
        if self.path:
            self.save()

    def save(self):
        os.makedirs(os.path.dirname(self.path) or ".", exist_ok=True)
        with open(f"{self.path}.new", "w") as f:
            json.dump(self.kept, f, indent=1)
        os.replace(f"{self.path}.new", self.path)


def ratio(row, peer):
    """How many times better the first side is than this one."""
    first = next(iter(row["peers"]))
    if peer == first:
        return ""
    ours, theirs = row["peers"][first]["value"], row["peers"][peer]["value"]
    if not ours or not theirs:
        return ""
    return f"{theirs / ours if row['lower'] else ours / theirs:.2f}"


def cpu_text(row, sample):
    if "cpu" not in sample or not row["cpu_per"]:
        return ""
    if row["cpu_per"] == "GB":
        return f"{sample['cpu']:.2f} s/GB"
    if row["cpu_per"] == "image":
        return f"{sample['cpu'] * 1e3:.2f} ms/image"
    return f"{sample['cpu'] * 1e6:.1f} us"


def cpu_ratio(row, peer):
    """How many times more CPU this one needs for the same than the first side."""
    first = next(iter(row["peers"]))
    ours, theirs = row["peers"][first].get("cpu"), row["peers"][peer].get("cpu")
    return f"{theirs / ours:.2f}" if peer != first and ours and theirs and row["cpu_per"] else ""


HEADINGS = ["bench", "transport", "server", "value", "unit", "ratio", "server CPU", "CPU ratio", "p50 ms", "p99 ms", "MB resident", "calls", "load CPU"]


def table_rows(results):
    for row in results.values():
        for index, (peer, sample) in enumerate(row["peers"].items()):
            milliseconds = lambda key: f"{sample[key] / 1000:.2f}" if key in sample else ""
            yield [row["title"] if index == 0 else "", row["transport"] if index == 0 else "", peer, number(sample["value"]),
                   row["unit"], ratio(row, peer), cpu_text(row, sample), cpu_ratio(row, peer), milliseconds("p50_us"), milliseconds("p99_us"),
                   number(sample["pss"] / 1e6) if "pss" in sample else "", number(sample.get("calls")),
                   f"{sample['load_cpu']:.2f}" if "load_cpu" in sample else ""]


def text_table(results):
    rows = [HEADINGS] + list(table_rows(results))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join("  ".join(cell.ljust(width) if column < 3 else cell.rjust(width)
                               for column, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows)


def markdown_table(results):
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * 3 + "--:|" * (len(HEADINGS) - 3)]
    lines += ["| " + " | ".join(row) + " |" for row in table_rows(results)]
    return "\n".join(lines)


def machine():
    model = "unknown processor"
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{os.cpu_count()} cores of {model}, Linux {platform.release()}, {time.strftime('%d %B %Y')}"


def write_docs(results):
    with open(DOCS) as f:
        text = f.read()
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    with open(DOCS, "w") as f:
        f.write(f"{before}{BEGIN}\nMeasured on {machine()}.\n\n{markdown_table(results)}\n{END}{after}")
    draw(results, "requests", "Small requests a second, 16 connections", "requests/s",
         ["v2", "manifest-get-tag", "manifest-head-digest", "blob-head", "blob-get-4k", "blob-get-64k"], lambda row, sample: sample["value"])
    draw(results, "cpu", "Server CPU seconds per GB", "s/GB", ["pull", "pull-resumed", "push-patch", "push-put"],
         lambda row, sample: sample.get("cpu", 0))
    draw(results, "images", "Small images pushed a second", "images/s", ["image-1", "image-8", "image-64"],
         lambda row, sample: sample["value"])


def draw(results, name, title, unit, benches, value):
    """A picture with a group of bars for each bench and transport."""
    rows = [row for row in results.values() if row["name"] in benches]
    servers = sorted({peer for row in rows for peer in row["peers"]}, key=lambda peer: (peer != "orlop", peer))
    if not rows:
        return
    script = ["set terminal svg size 960,420 font 'sans,12' background rgb 'white'", f"set output 'docs/performance-{name}.svg'",
              f"set title '{title}'", f"set ylabel '{unit}'", "set style data histograms", "set style histogram clustered gap 1",
              "set style fill solid 0.9 noborder", "set boxwidth 0.9", "set grid ytics", "set yrange [0:*]", "set key outside top center horizontal",
              "set rmargin 8", "set xtics rotate by -20", "$data << EOD", "bench " + " ".join(f'"{server}"' for server in servers)]
    for row in rows:
        cells = [f"{value(row, row['peers'][s]):.4f}" if s in row["peers"] else "-" for s in servers]
        script.append(f'"{row["name"]} {row["transport"]}" ' + " ".join(cells))
    script += ["EOD", "set datafile missing '-'",
               "plot " + ", ".join(f"$data using {i + 2}:xtic(1) title columnheader({i + 2})" for i in range(len(servers)))]
    subprocess.run(["gnuplot"], input="\n".join(script), text=True, check=True)
