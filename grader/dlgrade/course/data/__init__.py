"""Data sets that ship with the course; SOURCES.md says where each file comes from and under which licence."""
