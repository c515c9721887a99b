"""Fetches libtorch 2.11.0 into .libtorch/ from the PyPI wheels of PyTorch; called by libtorch.sh.

pip resolves each wheel's address (so its index, proxy and certificate settings hold); the bytes are
then fetched here with HTTP ranges, so that an interrupted download resumes, and checked against the
SHA-256 pinned below before anything is unpacked. The folder appears by one rename, under a lock.
"""

import argparse
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile

TORCH = ("torch==2.11.0", "7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a")
# libtorch_cpu.so of the PyPI build names these two; they are small.
CPU_EXTRA = [
    ("nvidia-cuda-runtime==13.0.96", "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548"),
    ("nvidia-cuda-cupti==13.0.85", "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8"),
]
CPU_LIBS = ["libtorch_cpu.so", "libc10.so", "libtorch.so", "libgomp.so.1", "libshm.so"]
ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = ROOT / ".libtorch"
CACHE = ROOT / ".cache" / "wheels"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
TAGS = ["--python-version", "3.11", "--implementation", "cp", "--only-binary=:all:"]
# pip matches each platform's number exactly.
for tag in [f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)] + ["manylinux2014_x86_64", "manylinux1_x86_64"]:
    TAGS += ["--platform", tag]


def say(text):
    print(f"libtorch: {text}", flush=True)


def fail(text):
    print(f"libtorch: {text}", file=sys.stderr)
    sys.exit(1)


def digest(path):
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def resolve(requirements, deps=False):
    """[(file name, address, sha256)] as pip would install them."""
    with tempfile.TemporaryDirectory() as scratch:
        report = pathlib.Path(scratch) / "report.json"
        command = PIP + ["install", "--quiet", "--dry-run", "--ignore-installed", "--target", scratch + "/x",
                         "--report", str(report), *TAGS, *([] if deps else ["--no-deps"]), *requirements]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            return None
        found = []
        for item in json.loads(report.read_text())["install"]:
            info = item["download_info"]
            hashes = info.get("archive_info", {}).get("hashes", {})
            found.append((info["url"].split("#")[0].rsplit("/", 1)[1], info["url"], hashes.get("sha256")))
        return found


def fetch(name, address, sha):
    path = CACHE / name
    if path.exists() and digest(path) == sha:
        return path
    part = CACHE / (name + ".part")
    for attempt in range(5):
        have = part.stat().st_size if part.exists() else 0
        try:
            request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
            with urllib.request.urlopen(request, timeout=60) as reply, open(part, "ab" if reply.status == 206 else "wb") as out:
                have = have if reply.status == 206 else 0
                total = have + int(reply.headers.get("Content-Length") or 0)
                shown = 0.0
                while block := reply.read(1 << 20):
                    out.write(block)
                    have += len(block)
                    if time.monotonic() - shown > (0.2 if sys.stderr.isatty() else 5):
                        shown = time.monotonic()
                        line = f"libtorch: {name[:40]}  {have >> 20} of {total >> 20} MB ({100 * have // max(total, 1)}%)"
                        print(line, end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)
            if digest(part) == sha:
                part.rename(path)
                say(f"{name}: {path.stat().st_size >> 20} MB, checksum right")
                return path
            say(f"{name}: the checksum does not match; starting it again")
            part.unlink()
        except OSError as error:
            if getattr(error, "code", None) == 416:  # the part is already whole, or longer than the file
                if digest(part) == sha:
                    part.rename(path)
                    return path
                part.unlink()
            say(f"{name}: {error}; attempt {attempt + 1} of 5")
            time.sleep(2 ** attempt)
    fail(f"{name} could not be fetched; run this again to go on where it stopped, or set LIBTORCH to a libtorch 2.11.0 folder")


def fetch_by_pip(requirement, sha):
    """For a pip too old for reports (before 23.0)."""
    say(f"this pip cannot report addresses; downloading {requirement} with `pip download` (not resumable)")
    subprocess.run(PIP + ["download", "--no-deps", *TAGS, "-d", str(CACHE), requirement], check=True)
    for path in CACHE.glob("*.whl"):
        if digest(path) == sha:
            return path
    fail(f"{requirement}: what pip fetched does not have the pinned checksum {sha}")


def wheel(requirement, sha):
    for path in CACHE.glob("*.whl"):
        if path.name.startswith(requirement.split("==")[0].replace("-", "_") + "-") and digest(path) == sha:
            return path
    found = resolve([requirement])
    if not found:
        return fetch_by_pip(requirement, sha)
    return fetch(found[0][0], found[0][1], sha)


def unpack(path, into, choose):
    with zipfile.ZipFile(path) as archive:
        for item in archive.infolist():
            target = choose(item.filename)
            if target is None or item.is_dir():
                continue
            out = into / target
            out.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(item) as source, open(out, "wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--cuda", action="store_true")
    cuda = arguments.parse_args().cuda
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(ROOT / ".cache" / "libtorch.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = "2.11.0+cuda" if cuda else "2.11.0"
        stamp = TARGET / "sightline-setup"
        if stamp.exists() and stamp.read_text().strip() in (wanted, "2.11.0+cuda"):
            return
        need = 14 if cuda else 2
        if shutil.disk_usage(ROOT).free < need << 30:
            fail(f"{need} GB of free disk are needed in {ROOT}; {shutil.disk_usage(ROOT).free >> 30} are there")
        say("setting up libtorch 2.11.0 " + ("with CUDA 13.0 (several GB)" if cuda else "for CPU (about 530 MB to fetch, once)"))
        torch = wheel(*TORCH)
        extra = [wheel(*item) for item in CPU_EXTRA]
        if cuda:
            found = resolve([TORCH[0]], deps=True)
            if not found:
                fail("pip could not resolve the CUDA libraries (see above); CUDA=1 needs pip 23.0 or later: python3 -m pip install --upgrade pip")
            extra += [fetch(*item) for item in found if item[0].startswith("nvidia_")]
        fresh = pathlib.Path(tempfile.mkdtemp(prefix=".libtorch-", dir=ROOT))
        try:
            # lib/ is what the binary links: with libtorch_cuda.so in it, the linker would bind the binary to
            # CUDA. So that one binary serves every machine, the rest lies in cuda/ and is loaded when it runs.
            def torch_part(name):
                if name.startswith("torch/include/"):
                    return name[len("torch/"):]
                base = name.rsplit("/", 1)[1]
                if not name.startswith("torch/lib/") or ".so" not in base or base == "libtorch_python.so":
                    return None
                if base in CPU_LIBS:
                    return f"lib/{base}"
                return f"cuda/{base}" if cuda else None

            def library(name):
                base = name.rsplit("/", 1)[1]
                if ".so" not in base or "/lib/" not in name:
                    return None
                if base in ("libcudart.so.13", "libcupti.so.13"):
                    return f"lib/{base}"
                return f"cuda/{base}" if cuda else None

            unpack(torch, fresh, torch_part)
            for path in extra:
                unpack(path, fresh, library)
            (fresh / "build-version").write_text("2.11.0\n")
            (fresh / "sightline-setup").write_text(wanted + "\n")
            for part in ["lib/libtorch_cpu.so", "lib/libcudart.so.13", "include/torch/csrc/api/include/torch/torch.h"]:
                if not (fresh / part).exists():
                    fail(f"the wheels did not hold {part}; please report this")
            fresh.chmod(0o755)
            old = None
            if TARGET.exists():
                old = ROOT / f".libtorch-old-{os.getpid()}"
                TARGET.rename(old)
            fresh.rename(TARGET)
            if old:
                shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(CACHE, ignore_errors=True)
        say(f"ready in {TARGET}")


if __name__ == "__main__":
    main()
