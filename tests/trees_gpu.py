"""GPUs as the kernel shows them under /sys/class/drm, cut to what the probe reads."""

from __future__ import annotations

GIB = 1 << 30


def card(driver: str, ids: str, slot: str, number: int = 0, **files: str) -> dict[str, str]:
    """``ids`` is ``vendor:device``; in the names of ``files`` two underscores stand for a slash, as in hwmon3__x."""
    folder = f"sys/class/drm/card{number}/device"
    vendor, device = ids.split(":")
    known = {
        "vendor": f"0x{vendor}",
        "device": f"0x{device}",
        "uevent": f"DRIVER={driver}\nPCI_CLASS=30000\nPCI_ID={ids.upper()}\nPCI_SLOT_NAME={slot}",
    }
    return {f"{folder}/{name.replace('__', '/')}": f"{text}\n" for name, text in {**known, **files}.items()}


PHOENIX = card(
    "amdgpu", "1002:15bf", "0000:c1:00.0",
    mem_info_vram_total=f"{GIB // 2}", mem_info_vram_used=f"{300 << 20}", mem_info_gtt_total=f"{14 * GIB}",
    mem_info_vram_vendor="unknown", pp_dpm_sclk="0: 800Mhz *\n1: 1100Mhz\n2: 2700Mhz",
    hwmon__hwmon3__in0_input="1100", hwmon__hwmon3__in1_input="850", hwmon__hwmon3__power1_input="9032000",
)  # fmt: skip
STRIX_HALO = card(
    "amdgpu", "1002:1586", "0000:c3:00.0",
    mem_info_vram_total=f"{96 * GIB}", mem_info_vram_used=f"{GIB}", mem_info_gtt_total=f"{16 * GIB}",
    mem_info_vram_vendor="unknown", hwmon__hwmon3__in1_input="850",
)  # fmt: skip
# Four GiB and a host with much more: by sizes alone it looks like an integrated GPU. This one names no maker.
RX_6400 = card(
    "amdgpu", "1002:743f", "0000:03:00.0",
    mem_info_vram_total=f"{4 * GIB}", mem_info_vram_used=f"{GIB}", mem_info_gtt_total=f"{16 * GIB}",
    hwmon__hwmon1__in0_input="725", hwmon__hwmon1__power1_cap="53000000", pp_dpm_mclk="0: 96Mhz\n1: 1000Mhz *",
)  # fmt: skip
B580 = card(
    "xe", "8086:e20b", "0000:03:00.0",
    tile0__physical_vram_size_bytes=f"{12 * GIB}", tile0__gt0__freq0__max_freq="2850",
    hwmon__hwmon2__energy1_input="123456789", hwmon__hwmon2__power1_max="190000000",
)  # fmt: skip
A770_BLIND = card("i915", "8086:56a0", "0000:03:00.0")  # the kernel's i915 tells no memory; a container hides hwmon
IRIS = card("i915", "8086:46a6", "0000:00:02.0") | {"sys/class/drm/card0/gt_max_freq_mhz": "1400\n"}
