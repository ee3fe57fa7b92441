"""Settings that all tests share."""

import os

# Two test processes share two cores: OpenMP threads that spin for each other would cost minutes.
# Tests of threading set their own number.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

pytest.register_assert_rewrite("contract")
torch.set_num_threads(1)
