"""Keeps your own files and conversations out of the evaluation: it works on copies."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

# Here, and not beside the rest: the settings are read when the first module of the agent is loaded.
# (By the tests they have been read before, and these keep apart by themselves.)
if "agent.settings" not in sys.modules:
    APART = Path(tempfile.mkdtemp(prefix="agent-evals-"))
    atexit.register(shutil.rmtree, APART, ignore_errors=True)
    os.environ |= {"WORKSPACE_DIR": str(APART / "files"), "MEMORY_DIR": str(APART / "memory")}
