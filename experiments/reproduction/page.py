"""The page of a report: the papers' tables and figures, with our numbers beside theirs.

A pure function of the JSON that `experiments/reproduce.py` writes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from raynas.files import Record
from reproduction import chosen, generations, sampled, searched, settings
from reproduction.tables import Results, markdown


class Section(NamedTuple):
    """One table or figure of the paper.

    Args:
        title: which one.
        paper: what it shows, and what the paper says of it.
        here: how it is made here, and why it may differ.
        lines: the Markdown of our numbers.
    """

    title: str
    paper: str
    here: str
    lines: Callable[[Results], list[str]]


SECTIONS = (
    Section(
        "Table 1: what is found, and what it costs",
        "Three supernets × evolutionary search, CF-ES and PCF-ES: CF-ES saves 19 % of the time on "
        "average and PCF-ES 38 to 55 %, energy likewise, at −0.1 points of top-1 at most for "
        "PCF-ES.",
        "Each row is the mean ± standard deviation over seeds. Differences and savings are within "
        "a seed, against EA's search; savings are median (range). *Saved* counts the blocks that "
        "candidates run through, times images. One candidate at a time is how the paper "
        "evaluates; with shared prefixes, as raynas evaluates, EA is cheaper to begin with. The "
        "paper's hours hold more than blocks (loading, stem, head, transfers), so that its savings "
        "are smaller for the same freezes. Small spaces under a limit run out: a search whose "
        "legal architectures behind the prefix have all been scored ends, and saves all "
        "generations that are left. *Time saved* and *energy* are of one search per "
        "method with one seed, without the ledger (Figure 7).",
        searched.table_1,
    ),
    Section(
        "Figure 9: choice percentage thresholds",
        "SPOS ends earliest at T = 0.6 with relatively low accuracy, and so do FairNAS and "
        "GreedyNAS at 0.3; 0.7 for SPOS and 0.4 for the others keep the accuracy and end early.",
        "Monitor size 3, block ratio 0.5, as there. Top-1 is the winner's, under the full "
        "protocol. Thresholds depend on the number of choices: with 4 of them, a random "
        "population's majority takes about a third, with 12 or 32 far less.",
        settings.figure_9,
    ),
    Section(
        "Figure 8: accuracy over generations",
        "All methods are the same until choices are frozen; PCF-ES loses very little on SPOS and "
        "FairNAS, and ends earlier.",
        "The best top-1 so far, in per cent, mean over seeds; an ended search counts with its "
        "last. A freeze gives the parents another prefix and scores them again, so that the best "
        "may fall. *The winner* is chosen among all finalists, those before the freeze included.",
        generations.figure_8,
    ),
    Section(
        "Figure 7: cost of each generation",
        "On SPOS a generation of the evolutionary search costs the same throughout; CF-ES takes "
        "less from generation 6 on; PCF-ES ever less, and nothing from generation 13 on.",
        "Blocks times images follow from the records, and have no noise. Times are of one search "
        "per method, searched without the ledger: scores that are looked up cost nothing, and "
        "would flatter whoever comes later. The first generation holds the checks of supernet and "
        "data as well.",
        generations.figure_7,
    ),
    Section(
        "Figure 10: monitor sizes",
        "Accuracy fluctuates on SPOS and GreedyNAS, and drops on FairNAS beyond 2; the saved "
        "computation rises steadily with the monitor size.",
        "The threshold is that of Table 1.",
        settings.figure_10,
    ),
    Section(
        "Figures 2, 12 and 13: choices over generations",
        "In shallow blocks one choice takes over before generation 10; in deep blocks it does so "
        "late or never.",
        "The majority choice's share of each generation, and the median generation from which it "
        "is above 70 %. These chains have 8 or 12 blocks, not 20. No architecture is proposed "
        "twice, so that populations spread again, and shares fall, once a small space has little "
        "left near its best. The curves of single choices are in the JSON (`counts`).",
        chosen.figure_2,
    ),
    Section(
        "Figure 3: majority choices and the final architecture",
        "Choices of shallow blocks before a majority appears are about as far from the first "
        "best architecture as from the last; majority choices are near the last.",
        "EA's searches, one point per seed. The shallow blocks are those that CF-ES would freeze "
        "when it first could (threshold of Table 1). Distances are the share of these blocks that "
        "differ: before, of all members of all earlier populations; then, of the majority choices.",
        chosen.figure_3,
    ),
    Section(
        "Figures 5 and 14: the block behind a freeze",
        "Once blocks are frozen, the choice percentage of the next one rises drastically (three "
        "searches, with 3, 6 and 8 frozen blocks).",
        "CF-ES beside EA with the same seed: up to the freeze they are the same search, so that "
        "EA's row shows what would have happened without it, which the paper does not. Per cent "
        "of the population that takes the majority choice of the next block.",
        chosen.figure_5,
    ),
    Section(
        "Figure 6: importance of samples",
        "Samples that are important for one of 50 subnets are important for the others, seen in a "
        "map of 500 samples.",
        "As numbers: losses of all pairs of candidates of the first frozen generation of PCF-ES "
        "(at the threshold of Figure 11), on all validation samples. Two unrelated candidates "
        "would share a quarter.",
        sampled.figure_6,
    ),
    Section(
        "Figure 11: sample rates",
        "Above 40 % the impact on accuracy is negligible; below, it drops rapidly.",
        "Samples of largest loss are kept behind the first freeze (`sampling=\"top\"`), so that "
        "nothing is sampled before: T is one at which these supernets freeze early. Top-1 is "
        "the winner's on *all* samples: the finalists are scored in full, so that a misled "
        "ranking costs little, and so it does where few candidates are left behind the freeze. "
        "The paper does not say on which samples its figure is measured.",
        sampled.figure_11,
    ),
    Section(
        "Table 3: importance sampling and random sampling",
        "Importance sampling is as good or better at every rate, by 0.3 points at most.",
        "T is that of Figure 11. Samples of largest loss, those drawn in proportion to their loss "
        "and weighted by p/q (equations 1 and 2; the paper does not say which it takes), and "
        "random ones. How well candidates rank by them at every rate is in "
        "[benchmarks/sampling](../benchmarks/sampling/README.md).",
        sampled.table_3,
    ),
    Section(
        "Table 4: sampling and bits",
        "16 bits cost nothing; 8 and 4 bits cost 0.1 to 0.4 points.",
        "SPOS, samples of largest loss, at the threshold of Figure 11.",
        sampled.table_4,
    ),
    Section(
        "Table 2: other data sets",
        "SPOS on CIFAR-10 and CIFAR-100: PCF-ES saves 44 and 52 % of the GPU hours at −0.1 and "
        "−0.2 points.",
        "CIFAR is searched where its archives are given (`--cifar`); the handwritten digits come "
        "with scikit-learn. *Saved* is of block executions here, one candidate at a time, and of "
        "GPU hours in the paper.",
        searched.table_2,
    ),
)  # fmt: skip
"""In the order of the page: what the paper's claims rest on first."""


def page(report: Record) -> str:
    """The Markdown of a report.

    Args:
        report: as `experiments/reproduce.py` writes it.
    """
    results = Results(report)
    lines = ["# The papers on our data", "", *introduction(report), *progress(results)]
    for section in SECTIONS:
        own = section.lines(results)
        lines += ["", f"## {section.title}", "", f"*The paper:* {section.paper}", ""]
        lines += [f"*Here:* {section.here}", ""]
        lines += own if any(own) else ["Not run yet."]
    return tidy(lines)


def introduction(report: Record) -> list[str]:
    """The beginning of the page: what was run, on what, by which command."""
    sizes, machine = report["sizes"], report["machine"]
    main = report["data"][0]
    quick = (
        ["**A quick run:** brief searches of barely trained supernets, which show that everything "
         "works, and nothing about the papers.", ""] if report["quick"] else []
    )  # fmt: skip
    return [
        *quick,
        "The tables and figures of the PCF-ES paper on small supernets that are trained and "
        f"searched on this machine, by `{report['command']}` (resumable; it writes the raw numbers "
        "as JSON, and this page from them). The paper trains and searches supernets of 19 to 21 "
        "blocks on ImageNet with P100 GPUs, so that no number is comparable with its own; what can "
        "be compared is which way they go.",
        "",
        f"Data: {main['label']}, {main['validation']:,} validation and {main['calibration']:,} "
        f"calibration images, {main['test']:,} held out. Each supernet is trained once, for "
        f"{report['epochs']} epochs of single paths or what costs as much. Population "
        f"{sizes['population']}, {sizes['generations']} generations, Top-10, seeds "
        f"{' '.join(map(str, sizes['seeds']))}; batch norm is recalibrated. Searches of one "
        "supernet share a ledger of scores, which changes no history; nothing on this page that "
        "tells seconds was searched with it.",
        "",
        f"Machine: {machine['processor']}, torch {machine['torch']}, raynas {machine['raynas']}.",
        "",
        "*top-1* is that of the winner on the validation images that chose it, and so is "
        "optimistic; *test top-1* is on images that steered nothing. One validation image is "
        f"{100 / main['validation']:.2f} points. ± is one standard deviation over seeds.",
        "",
    ]


def progress(results: Results) -> list[str]:
    """The supernets, and how many of the searches have been run."""
    columns = (
        "supernet", "blocks", "choices", "limit", "random legal top-1", "trained by",
        "T of CF-ES, PCF-ES", "monitor size", "searches run",
    )  # fmt: skip
    rows = []
    for family in results.families:
        wanted = [e for e in results.report["wanted"] if e["family"] == family["name"]]
        done = [row for row in results.report["rows"] if row["family"] == family["name"]]
        freezing = family["freezing"]
        rows.append([
            family["label"] + ("" if family["in_paper"] else " (not in the paper)"),
            str(len(family["choices"])),
            in_words(family["choices"]),
            family["limit"],
            spread(done),
            family["paths"],
            f"{freezing['cf']:g}, {freezing['pcf']:g}",
            str(freezing["monitor"]),
            f"{len(done)} of {len(wanted)}",
        ])  # fmt: skip
    return markdown(columns, rows)


def in_words(choices: list[int]) -> str:
    """The numbers of choices of the blocks."""
    least, most = min(choices), max(choices)
    return str(least) if least == most else f"{least} to {most}"


def spread(rows: list[Record]) -> str:
    """Least, median and largest top-1 of the first generations, which are random."""
    found = [row["first_population"] for row in rows if row["variant"]["method"] == "ea"]
    every = sorted(value for own in found for value in own)
    if not every:
        return "—"
    told = (every[0], every[len(every) // 2], every[-1])
    return " / ".join(f"{100 * value:.1f}" for value in told) + " %"


def tidy(lines: list[str]) -> str:
    """Lines as a text, without blank lines that follow each other."""
    kept = [line for place, line in enumerate(lines) if line or (place and lines[place - 1])]
    return "\n".join(kept).rstrip("\n") + "\n"
