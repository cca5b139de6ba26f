"""Which of the NVIDIA driver's error numbers (Xid) say that a device is sick.

Source: NVIDIA's Xid catalog for Ampere to Blackwell (read in November 2026),
https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html. Here stand those whose immediate action there is
to reset the GPU, to restart the machine, or to follow the workflow for ECC or NVLink: until that is done, no job should
start there. What is not here says nothing against the device:

- the application's fault, or cleaned up with it (restart the application, or ignore): 13, 31, 32, 43, 45, 68, 69, and
  94, a memory error that is contained to one application;
- told for the record (ignore): 63, a row that was remapped, and 92, many errors that ECC has corrected;
- 137, an illegal access over NVLink; 154, which comments on another; 144 to 149, NVLink 5 errors that are mostly not
  fatal, and can't be told apart by the number, which is all that NVML gives. Failing twice takes such a device out.

On 109 NVIDIA's own sources differ: its Kubernetes plugin counts it as the application's, the catalog wants a reset.
"""

from types import MappingProxyType
from typing import Final

HARDWARE: Final = MappingProxyType(
    {
        46: "GPU stopped processing",
        48: "memory error that ECC could not correct",
        62: "internal micro-controller halted",
        64: "failure to remap a bad memory row",
        74: "NVLink error",
        79: "GPU has fallen off the bus",
        95: "uncontained memory error",
        109: "context switch timed out",
        110: "security fault",
        119: "GPU system processor did not answer",
        120: "GPU system processor failed",
        136: "NVLink training failed",
        140: "unrecovered ECC error",
        143: "GPU initialization failed",
        150: "NVLink management failed",
        151: "key rotation failed",
        155: "NVLink error that software defines",
        156: "resource to be retired with the next reset",
        158: "fatal GPU timeout",
    }
)
"""What each means, in few words."""


def evidence_of(xid: int) -> str | None:
    """Why a device with this error must not be given away, for a person; None: it may."""
    meaning = HARDWARE.get(xid)
    return None if meaning is None else f"Xid {xid}, {meaning}"
