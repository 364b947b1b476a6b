import subprocess
import sys


def test_opening_the_providers_loads_no_http_client_no_sdk_and_no_picture_library() -> None:
    """Both services open them at their start; the SDK alone is 30 MB and more than a second."""
    script = (
        "import sys\n"
        "import kroma.provider_accounts.access\n"
        "from kroma.config import Settings\n"
        "from kroma.cpu import CpuPool\n"
        "from kroma.providers import open_providers\n"
        "for provider in open_providers(CpuPool(1), Settings.from_environment({})).values():\n"
        "    provider.capabilities\n"
        "heavy = ('openai', 'httpx', 'httpx2', 'pydantic', 'numpy', 'cv2', 'PIL')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
