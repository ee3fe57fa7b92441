import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.slow
@pytest.mark.parametrize(("state_dtype", "moments"), [("int8", 3), ("float32", 3), ("float32", 20)])
def test_a_run_killed_at_any_moment_resumes_to_the_same_bits(state_dtype, moments):
    """A few moments here; ``python tests/train/killer.py 20 int8`` tries more."""
    script = Path(__file__).with_name("killer.py")
    result = subprocess.run(
        [sys.executable, script, str(moments), state_dtype],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert "all bits are the same" in result.stdout
