"""`pytest --dlgrade ch305`: every hidden check as a test item."""
