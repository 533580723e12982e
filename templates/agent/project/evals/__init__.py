"""Keeps your own files and conversations out of the evaluation, which uses copies."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

# Set here, because the settings are read when the first module of the agent is imported.
# (In the tests they are already read, and the tests use their own copies.)
if "agent.settings" not in sys.modules:
    COPIES = Path(tempfile.mkdtemp(prefix="agent-evals-"))
    atexit.register(shutil.rmtree, COPIES, ignore_errors=True)
    os.environ |= {"WORKSPACE_DIR": str(COPIES / "files"), "MEMORY_DIR": str(COPIES / "memory")}
