"""A list of machines as an office has them, for ``phibench recommend --machines``: the same for the same seed.

``python benchmarks/inventory.py [--rows 1000] [--seed 1] > inventory.csv``: office laptops and desktops, Macs, some
workstations, few servers and virtual machines, and old ones that no table has; spelled as Windows, Linux, macOS and
people spell them, with gaps. The mix is chosen, not counted anywhere.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
from collections.abc import Sequence

HEADER = ("Hostname", "Processor", "Graphics", "RAM (GB)", "Operating System")
# Weight, processors, graphics, GiB of memory, systems.
KINDS: tuple[tuple[int, tuple[str, ...], tuple[str, ...], tuple[int, ...], tuple[str, ...]], ...] = (
    (38, ("i5-1235U", "i5-1335U", "i5-1135G7", "i5-8250U", "i7-1165G7", "i7-1260P", "i7-1360P", "Ultra 5 125U",
          "Ultra 7 155U", "Ultra 7 155H", "Ultra 7 258V"),
     ("Intel(R) Iris(R) Xe Graphics", "Intel(R) UHD Graphics", "Intel(R) Graphics", ""), (8, 16, 16, 16, 32),
     ("win11", "win11", "win10")),
    (8, ("Ryzen 5 5500U", "Ryzen 7 5700U", "Ryzen 5 7640U", "Ryzen 7 7840U", "Ryzen 7 8840U", "Ryzen AI 7 350"),
     ("AMD Radeon(TM) Graphics", "AMD Radeon(TM) 780M Graphics", ""), (16, 16, 32), ("win11", "win11", "linux")),
    (14, ("i5-9500", "i5-10400", "i5-12400", "i5-13400", "i7-10700", "i7-12700", "i7-8700"),
     ("Intel(R) UHD Graphics 630", "Intel(R) UHD Graphics 730", "Intel(R) UHD Graphics 770", ""), (8, 16, 16, 32),
     ("win10", "win11")),
    (12, ("Apple M1", "Apple M2", "Apple M3", "Apple M4", "Apple M1 Pro", "Apple M3 Pro", "Apple M4 Pro",
          "Apple M3 Max"),
     ("",), (8, 16, 16, 24, 36), ("macos",)),
    (8, ("i7-12700H", "i7-13700H", "i9-13980HX", "Ryzen 7 7840HS"),
     ("NVIDIA GeForce RTX 4060 Laptop GPU", "NVIDIA GeForce RTX 3050 Laptop GPU", "NVIDIA RTX A1000 Laptop GPU",
      "NVIDIA RTX 2000 Ada Generation Laptop GPU", "Intel(R) Iris(R) Xe Graphics; NVIDIA GeForce RTX 4070 Laptop GPU"),
     (16, 32, 64), ("win11",)),
    (7, ("i7-13700", "i9-13900K", "i9-12900K", "Ryzen 9 5950X", "Ryzen Threadripper PRO 5975WX"),
     ("NVIDIA RTX A2000 12GB", "NVIDIA RTX A4000", "Intel(R) UHD Graphics 770, NVIDIA T1000", "NVIDIA RTX A6000",
      "NVIDIA GeForce RTX 3060", "NVIDIA GeForce RTX 4090", "NVIDIA RTX A6000; NVIDIA RTX A6000"),
     (32, 64, 128), ("win11", "linux")),
    (3, ("Xeon Gold 6248", "EPYC 7763", "Xeon Platinum 8480+", "EPYC 9654"),
     ("Matrox G200eW3", "NVIDIA A100-SXM4-80GB", "2x NVIDIA L40S", "ASPEED Technology, Inc. ASPEED Graphics Family"),
     (256, 512), ("linux",)),
    (3, ("Xeon Gold 6338", "EPYC 7543"), ("VMware SVGA 3D", "Microsoft Hyper-V Video"), (8, 16, 32),
     ("linux", "server")),
    (6, ("i3-2100", "Core 2 Duo E8400", "i5-4460", "i5-6500", "AMD FX-8350", "Celeron N4000"),
     ("Intel(R) HD Graphics 4600", "NVIDIA GeForce GT 710", "N/A"), (4, 8), ("win10", "win7")),
    (1, ("Snapdragon X Elite X1E-80-100",), ("Qualcomm(R) Adreno(TM) X1-85 GPU",), (16, 32), ("win11",)),
)  # fmt: skip
SYSTEMS = {
    "win11": ("Microsoft Windows 11 Pro 10.0.22631", "Windows 11 Enterprise", "Win11 Pro", "Windows 11"),
    "win10": ("Microsoft Windows 10 Pro 10.0.19045", "Windows 10 Enterprise LTSC", "win10"),
    "win7": ("Microsoft Windows 7 Professional",),
    "server": ("Microsoft Windows Server 2022 Standard",),
    "linux": ("Ubuntu 22.04.4 LTS", "Ubuntu 24.04", "Debian GNU/Linux 12 (bookworm)", "Red Hat Enterprise Linux 9.3"),
    "macos": ("macOS 14.5", "macOS Sonoma 14.4.1", "Mac OS 15.1", "macOS"),
}
_GHZ = ("1.30", "2.10", "2.40", "2.80", "3.60")


def inventory(rows: int = 1000, seed: int = 1) -> str:
    """CSV text with a header."""
    chance = random.Random(seed)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(HEADER)
    for number in range(rows):
        writer.writerow(_machine(chance, number))
    return stream.getvalue()


def _machine(chance: random.Random, number: int) -> Sequence[str]:
    (kind,) = chance.choices(KINDS, [kind[0] for kind in KINDS])
    _, processors, graphics, sizes, systems = kind
    name = f"{chance.choice(('NB', 'PC', 'WS', 'DESKTOP', 'srv'))}-{chance.choice(('BER', 'MUC', 'HH'))}-{number:04}"
    system = chance.choice(SYSTEMS[chance.choice(systems)])
    cells = (
        _processor(chance, chance.choice(processors)),
        chance.choice(graphics),
        _memory(chance, chance.choice(sizes)),
    )
    return (name, *cells, "" if chance.random() < 0.05 else system)


def _processor(chance: random.Random, model: str) -> str:
    """As a system prints it."""
    if model.startswith(("i3", "i5", "i7", "i9", "Ultra")):
        new = model.startswith("Ultra") or model[3:5] in ("12", "13")
        clock = "" if new else f" CPU @ {chance.choice(_GHZ)}GHz"
        before = f"{model[3:5]}th Gen " if model[3:5] in ("12", "13") else ""
        return chance.choice((f"{before}Intel(R) Core(TM) {model}{clock}", f"Intel Core {model}"))
    if model.startswith("Ryzen"):
        return chance.choice((f"AMD {model} with Radeon Graphics", f"AMD {model}"))
    if model.startswith("Xeon"):
        return f"Intel(R) {model.replace(' ', '(R) ', 1)} CPU @ 2.50GHz"
    if model.startswith("EPYC"):
        return f"AMD {model} 64-Core Processor"
    return model


def _memory(chance: random.Random, gib: int) -> str:
    shown = f"{gib - 0.1 if gib <= 64 else gib:.1f}"
    comma = f"{gib:.1f}".replace(".", ",")
    return chance.choice((str(gib), f"{gib} GB", f"{shown} GB", f"{comma} GB", f"{gib * 1024} MB"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    print(inventory(asked.rows, asked.seed), end="")


if __name__ == "__main__":
    main()
