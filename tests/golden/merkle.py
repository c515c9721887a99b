#!/usr/bin/env python3
"""Writes merkle.txt: roots and proofs of RFC 6962, section 2.1, by its own recursion. Needs only hashlib.

    python3 tests/golden/merkle.py > tests/golden/merkle.txt
"""
from hashlib import sha256


def k_of(n):
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def mth(d):
    if not d:
        return sha256(b"").digest()
    if len(d) == 1:
        return sha256(b"\x00" + d[0]).digest()
    k = k_of(len(d))
    return sha256(b"\x01" + mth(d[:k]) + mth(d[k:])).digest()


def path(m, d):
    if len(d) == 1:
        return []
    k = k_of(len(d))
    return path(m, d[:k]) + [mth(d[k:])] if m < k else path(m - k, d[k:]) + [mth(d[:k])]


def subproof(m, d, whole):
    if m == len(d):
        return [] if whole else [mth(d)]
    k = k_of(len(d))
    if m <= k:
        return subproof(m, d[:k], whole) + [mth(d[k:])]
    return subproof(m - k, d[k:], False) + [mth(d[:k])]


def data(n):
    return [f"entry {i}".encode() for i in range(n)]


for n in [0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 100, 1000]:
    print("root", n, mth(data(n)).hex())
for n in [1, 2, 3, 7, 8, 13]:
    for m in range(n):
        print("inclusion", m, n, *(h.hex() for h in path(m, data(n))))
for n in [1, 2, 3, 7, 8, 13]:
    for m in range(1, n + 1):
        print("consistency", m, n, *(h.hex() for h in subproof(m, data(n), True)))
