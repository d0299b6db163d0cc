"""nbgrader classrooms: source notebooks, courses, and grading in the sandbox in place of nbgrader's kernel.

`import nbgrader` anywhere in here is the real one. Only `trusted`, `restore` and `grading` need it installed.
"""
