"""Lets torchvision be imported beside a build of torch that its compiled part was not linked against.

PyPI's torchvision is linked against CUDA. Beside the CPU build of torch its library of operators does not load, which
torchvision bears, but for one thing: it describes the operators `nms` and `qnms` without asking whether they exist, and
that stops its import. Here they are declared in name only; nothing in a training of a language model calls them.

`deploy/swift-vlm.sh` puts this file beside torchvision, and into torchvision a line that imports it, behind the attempt
to load the library. So it costs nothing where torchvision is not imported, and does nothing where the library loads.
"""

# This runs in the environment of ms-swift, which the daemon's type checker doesn't see.
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import torch
from torchvision import extension

SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

if not extension._has_ops():  # torchvision's own question, asked as it asks it
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", SIGNATURE)
