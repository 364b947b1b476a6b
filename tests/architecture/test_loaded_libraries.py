"""What the services load at their start: picture libraries are for picture processes."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("service", ["kroma_api.main", "kroma_worker.main"])
def test_a_service_loads_no_picture_library(service: str) -> None:
    script = f"import sys, {service}\nprint([m for m in ('numpy', 'cv2', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
