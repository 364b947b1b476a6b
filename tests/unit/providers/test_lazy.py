import subprocess
import sys


def test_opening_the_providers_loads_neither_the_sdk_nor_a_picture_library() -> None:
    """Both services open them at their start; the SDK alone is 30 MB and more than a second."""
    script = (
        "import sys\n"
        "from kroma.config import Settings\n"
        "from kroma.cpu import CpuPool\n"
        "from kroma.providers import open_providers\n"
        "for provider in open_providers(CpuPool(1), Settings.from_environment({})).values():\n"
        "    provider.capabilities\n"
        "print([m for m in ('openai', 'httpx2', 'pydantic', 'numpy', 'cv2', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
