"""Makes dist/dynamo-fe_VERSION_ARCH.deb out of dist/dynamo-fe.d: python packaging/deb.py [VERSION]

The package holds the directory form, the units, the man page, the completions and the default configuration. VERSION is
another than the program's own for a test of upgrades.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = ROOT / "dist" / "dynamo-fe.d"
SCRIPTS: Final = ROOT / "packaging" / "debian"
UNITS: Final = ROOT / "systemd"
PROGRAM: Final = "usr/lib/dynamo-fe"
# conffiles: what dpkg asks about before it changes them
CONFIGURATION: Final = ("/etc/dynamo-fe/dynamo-fe.toml",)


def say(*command: str) -> str:
    """What the frozen program prints."""
    return subprocess.run([FOLDER / "dynamo-fe", *command], check=True, capture_output=True, text=True).stdout


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def write_packed(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def lay_out(tree: Path) -> None:
    """Everything the package installs, under the folder `tree`."""
    shutil.copytree(FOLDER, tree / PROGRAM, symlinks=True)
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/dynamo-fe").symlink_to("../lib/dynamo-fe/dynamo-fe")
    for unit in sorted(UNITS.glob("dynamo-fe*")):
        write(tree / "usr/lib/systemd/system" / unit.name, unit.read_text())
    write(tree / "usr/lib/sysusers.d/dynamo-fe.conf", (UNITS / "sysusers.conf").read_text())
    write(tree / "usr/lib/tmpfiles.d/dynamo-fe.conf", (UNITS / "tmpfiles.conf").read_text())
    write(tree / "usr/share/bash-completion/completions/dynamo-fe", say("completion", "bash"))
    write(tree / "usr/share/zsh/vendor-completions/_dynamo-fe", say("completion", "zsh"))
    write(tree / "usr/share/fish/vendor_completions.d/dynamo-fe.fish", say("completion", "fish"))
    write(tree / "etc/dynamo-fe/dynamo-fe.toml", say("print-config", "--template"))
    write_packed(tree / "usr/share/man/man1/dynamo-fe.1.gz", say("man"))
    write(tree / "usr/share/lintian/overrides/dynamo-fe", (SCRIPTS / "lintian-overrides").read_text())
    document = tree / "usr/share/doc/dynamo-fe"
    write(document / "copyright", (SCRIPTS / "copyright").read_text())
    write_packed(document / "changelog.gz", (SCRIPTS / "changelog").read_text())
    write(document / "sbom.cdx.json", (ROOT / "dist" / "dynamo-fe.cdx.json").read_text())
    for path in tree.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
        elif ".so" in path.suffixes and not path.is_symlink():
            path.chmod(0o644)


def control(tree: Path, version: str, facts: Mapping[str, str]) -> None:
    """The part of the package that is for dpkg."""
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    fields = {
        "Package": "dynamo-fe",
        "Version": version,
        "Architecture": architecture(),
        "Maintainer": maintainer(facts["version"]),
        "Installed-Size": str(sum(path.stat().st_size for path in files) // 1024),
        "Depends": f"libc6 (>= {facts['glibc_needed']}), libgcc-s1, libstdc++6",
        "Recommends": "systemd (>= 252)",
        "Section": "net",
        "Priority": "optional",
        "Description": "OpenAI-compatible frontend for Dynamo workers\n"
        f" A drop-in replacement for the frontend of NVIDIA Dynamo {facts['dynamo_version']}:\n"
        " the same flags, API and metrics in front of the same workers, as one\n"
        " program that needs no Python.",
    }
    write(tree / "DEBIAN/control", "".join(f"{name}: {value}\n" for name, value in fields.items()))
    write(tree / "DEBIAN/conffiles", "".join(f"{path}\n" for path in CONFIGURATION))
    packed = {str(path.relative_to(tree)): path for path in files}
    sums = {name: hashlib.md5(path.read_bytes()).hexdigest() for name, path in packed.items()}
    listed = [name for name in sums if f"/{name}" not in CONFIGURATION]
    write(tree / "DEBIAN/md5sums", "".join(f"{sums[name]}  {name}\n" for name in listed))
    for name in ("postinst", "prerm", "postrm"):
        write(tree / "DEBIAN" / name, (SCRIPTS / name).read_text(), 0o755)


def maintainer(version: str) -> str:
    """Who signed the last entry of the changelog. Raises SystemExit if that is not about this version."""
    lines = (SCRIPTS / "changelog").read_text().splitlines()
    if not lines[0].startswith(f"dynamo-fe ({version}) "):
        sys.exit(f"{SCRIPTS / 'changelog'} does not begin with version {version}")
    signature = next(line for line in lines if line.startswith(" -- "))
    return signature.removeprefix(" -- ").partition("  ")[0]


def architecture() -> str:
    return subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout.strip()


def build(version: str | None = None, compression: str = "xz", target: Path = ROOT / "dist") -> Path:
    """Returns the path of the package, in the folder `target`."""
    facts = json.loads(say("version", "--json"))
    version = version or facts["version"]
    tree = ROOT / "build" / "deb"
    shutil.rmtree(tree, ignore_errors=True)
    os.umask(0o022)
    tree.mkdir(parents=True)
    lay_out(tree)
    control(tree, version, facts)
    package = target / f"dynamo-fe_{version}_{architecture()}.deb"
    command = ["dpkg-deb", "--root-owner-group", f"-Z{compression}", "--build", tree, package]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)
    return package


if __name__ == "__main__":
    print(build(*sys.argv[1:2]))
