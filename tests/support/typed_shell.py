"""An interactive shell in a terminal of its own, at which a line is typed."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

PROMPT = "ready> "
# To be read by the shell before it asks: what is run as dynamo-fe notes the words that it got, and ends the shell.
SAYS_ITS_WORDS = f"PS1='{PROMPT}'\ndynamo-fe() {{ printf '%s\\0' \"$@\" >\"$HOME/.words\"; exit; }}\n"


def typed(shell: Sequence[str], keys: str, home: Path, environ: Mapping[str, str]) -> tuple[list[str], str]:
    """Types the keys, a tab for completion, and Enter in the folder `home`; returns the words that dynamo-fe was run
    with, and what the terminal showed.
    """
    ours, its = pty.openpty()
    variables = {"HOME": str(home), "PATH": os.environ["PATH"], "TERM": "dumb", "LC_ALL": "C.UTF-8", **environ}
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *shell], stdin=its, stdout=its, stderr=its, cwd=home, env=variables
    )
    os.close(its)
    shown = ""
    with os.fdopen(ours, "rb+", buffering=0) as terminal:
        # the ends of file are for a shell that wants more of the line
        for wanted, then in ((PROMPT, f"{keys}\n\x04\x04"), (None, "")):
            # a terminal whose last program has ended cannot be read
            with contextlib.suppress(OSError):
                while (wanted is None or wanted not in shown) and (piece := terminal.read(4096)):
                    shown += piece.decode(errors="replace")
            with contextlib.suppress(OSError):
                terminal.write(then.encode())
        assert process.wait() == 0, shown
    return (home / ".words").read_text().split("\0")[:-1], shown
