"""Kernels compiled for GPUs that need not be there."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from adamantine.backends.gpu.kernel.compiling import Launch
from adamantine.backends.gpu.kernel.memory import TILE

SM_80, SM_90 = GPUTarget("cuda", 80, 32), GPUTarget("cuda", 90, 32)
GFX942 = GPUTarget("hip", "gfx942", 64)

FLOATS = {"scalars", "decision", "decided", "tile_sums", "sums", "samples"}


def compiled_for(launch: Launch, target: GPUTarget) -> Any:
    """What Triton makes of a kernel."""
    types = {name: "*fp64" if name in FLOATS else "*i64" for name in launch.arrays}
    types |= {"columns": "i32"} if "columns" in types else {}
    types |= dict.fromkeys(launch.constants, "constexpr")
    source = ASTSource(launch.kernel, types, launch.constants)
    return triton.compile(source, target=target, options=launch.options)


WIDE = re.compile(r"^\s*(ld|st)\.global\.v([24])\.b(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Resources:
    """What a kernel takes; `stack` and `spilled` in bytes a thread."""

    registers: int
    stack: int
    spilled: int


def resources_of(code: Any, folder: Path) -> Resources:
    """Read from what would be loaded onto the GPU."""
    if "amdgcn" in code.asm:
        found = dict(re.findall(r"^\s*\.(\w+):\s+(\d+)$", code.asm["amdgcn"], re.MULTILINE))
        spilled = int(found["vgpr_spill_count"])  # scalar ones are spilled into vector registers
        stack = int(found["private_segment_fixed_size"])
        return Resources(int(found["vgpr_count"]), stack, spilled)
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    binary = folder / "kernel.cubin"
    binary.write_bytes(code.asm["cubin"])
    command = [tool, "--dump-resource-usage", binary]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r"(REG|STACK|LOCAL):(\d+)", told))
    return Resources(int(found["REG"]), int(found["STACK"]), int(found["LOCAL"]))


def bytes_an_element(code: Any) -> dict[str, float]:
    """Loaded and stored by tiles that need no mask."""
    threads = 32 * code.metadata.num_warps
    moved = {"ld": 0, "st": 0}
    for way, many, bits in WIDE.findall(code.asm["ptx"]):
        moved[way] += int(many) * int(bits) // 8 * threads
    return {way: total / TILE for way, total in moved.items()}
