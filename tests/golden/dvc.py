#!/usr/bin/env python3
"""Holds versions of sets against stock DVC 3 (`pip install dvc==3.67.*`).

    python3 tests/golden/dvc.py > tests/golden/dvc.json         what dvc itself makes of a small folder
    python3 tests/golden/dvc.py --check target/debug/sightline  dvc at work on what sightline made, and the other way round
"""
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FILES = {
    "a.txt": b"hello\n",
    "empty": b"",
    "images/train/pill \u00e9\u4e2d.jpg": b"\xff\xd8not really\xff\xd9",
    "images/train/\U0001f48a.jpg": b"hello\n",
    'labels/"quoted" name.txt': b"0 0.5 0.5 0.2 0.2\n",
    "labels/deep/er/z~.txt": bytes(range(256)),
}


def dvc(*words, at):
    env = dict(os.environ, DVC_NO_ANALYTICS="1")
    done = subprocess.run([sys.executable, "-m", "dvc", *words], cwd=at, env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"dvc {' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def fill(folder, files=FILES):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def read(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def golden(at):
    fill(at / "packs")
    dvc("init", "--no-scm", "-q", at=at)
    dvc("add", "-q", "packs", at=at)
    cache = read(at / ".dvc/cache/files/md5")
    encoded = {name: base64.b64encode(content).decode() for name, content in cache.items()}
    print(json.dumps({"pointer": (at / "packs.dvc").read_text(), "cache": encoded}, indent=1, sort_keys=True))


def check(at, program):
    def sightline(*words):
        done = subprocess.run([program, "dataset", *words], cwd=at, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"sightline dataset {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    packs = at / "packs"
    fill(packs)
    sightline("snapshot", "packs", "--message", "first")
    first = read(packs)
    clean = dvc("status", at=at)
    assert "up to date" in clean, clean
    print("dvc status after a snapshot:", clean)

    # A second version, and dvc's checkout of the first by its own file.
    pointer = (at / "packs.dvc").read_text()
    (packs / "a.txt").write_bytes(b"changed\n")
    (packs / "new.txt").write_bytes(b"new\n")
    (packs / "empty").unlink()
    changed = dvc("status", at=at)
    assert "modified" in changed, changed
    sightline("snapshot", "packs", "--message", "second")
    second = read(packs)
    assert "up to date" in dvc("status", at=at)
    (at / "packs.dvc").write_text(pointer)
    dvc("checkout", "--force", "-q", at=at)
    assert read(packs) == first
    print("dvc checkout restores the first version byte for byte")
    shutil.rmtree(packs)
    dvc("checkout", "-q", at=at)
    assert read(packs) == first
    print("dvc checkout makes a folder anew that is gone")

    # What sightline restores is what dvc calls clean.
    sightline("restore", "packs", "2")
    assert read(packs) == second
    assert "up to date" in dvc("status", at=at)
    print("dvc status after a restore: clean")

    # A version that dvc made is the same to sightline.
    dvc("add", "-q", "packs", at=at)
    same = json.loads(sightline("snapshot", "packs", "--json"))
    assert same["new"] is False, same
    print("dvc add and sightline agree on the version")


with tempfile.TemporaryDirectory() as scratch:
    if sys.argv[1:2] == ["--check"]:
        check(Path(scratch), str(Path(sys.argv[2]).resolve()))
    else:
        golden(Path(scratch))
