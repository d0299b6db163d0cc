"""Seeds: what makes every drawn number, the same on every machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import numpy as np

PRACTICE_SEED = 7
MIN_SECRET_BYTES = 16


class SeedError(ValueError):
    """A seed file that cannot serve as a secret."""


class Seed(msgspec.Struct, frozen=True):
    """A seed. A secret one is never printed: results carry its fingerprint."""

    key: bytes
    number: int | None

    @property
    def secret(self) -> bool:
        return self.number is None

    @property
    def fingerprint(self) -> str:
        return hashlib.blake2b(self.key, digest_size=8, person=b"fingerprint").hexdigest() if self.secret else ""

    def rng(self, *names: str) -> np.random.Generator:
        """The generator of one check, by its names; no other check's draws depend on it."""
        digest = hashlib.blake2b("/".join(names).encode(), key=self.key, digest_size=32).digest()
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(int.from_bytes(digest, "little"))))


def public_seed(number: int) -> Seed:
    """A seed that may be known: practice, and reproducing a result."""
    return Seed(hashlib.blake2b(str(number).encode(), digest_size=32).digest(), number)


def secret_seed(path: Path) -> Seed:
    """An instructor's seed from a file of at least 16 bytes; raises `SeedError` with one sentence otherwise."""
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise SeedError(f"the seed file {path} cannot be read: {error.strerror}") from None
    if len(secret) < MIN_SECRET_BYTES:
        raise SeedError(f"the seed file {path} is too short to be a secret: it needs at least {MIN_SECRET_BYTES} bytes")
    return Seed(hashlib.blake2b(secret, digest_size=32).digest(), None)
