"""What the attack tests share: the arena, found beside this file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `import arena`, which benchmarks/attack_table.py uses too

from arena import Arena


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """One arena for all tests of a module, so that every attack is followed by others in the same nursery."""
    with Arena(tmp_path_factory.mktemp("arena")) as made:
        yield made
