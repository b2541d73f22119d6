"""What all tests share: one intra-op thread, as the evaluation protocol has by default.

Floating-point sums depend on the number of threads, so a plain forward is an oracle to the last
bits only under the protocol's.
"""

from __future__ import annotations

import torch

torch.set_num_threads(1)
