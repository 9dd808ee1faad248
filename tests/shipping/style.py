"""What the compiler does not see: rules of style over the files in git. CONTRIBUTING.md says why they are there.

The rules are tried on samples first: each has to find what it forbids and to leave the right form alone.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILE_LINES_MAX = 600
# For scripts; rustfmt wraps Rust at 140 itself, and what it leaves longer are texts that would have to be torn apart.
LINE_CHARS_MAX = 160
CODE = {".rs", ".sh", ".py", ".mjs"}
# Written by programs, or not prose and code of ours.
EXEMPT = {"Cargo.lock", "LICENSE"}

# (rule, the files it is for, what it forbids, a sample that it has to find, a sample that it has to leave alone)
FORBIDDEN = [
    ("unfinished code", r"\.rs$", r"\b(todo|unimplemented)!\s*[(\[{]", "to" + "do!()", "let todo = 1;"),
    ("a test that does not run", r"\.rs$", r"#\[\s*(cfg_attr\(.*,\s*)?ignore\b", "#[ign" + "ore]", "// to ignore"),
    ("a debugging print", r"\.rs$", r"\bdbg!\s*\(", "db" + "g!(x)", "debug!(x)"),
    ("unsafe code", r"\.rs$", r"\bunsafe\s*(\{|fn|impl|extern)", "unsa" + "fe { x }", 'unsafe_code = "forbid"'),
    ("a path of one machine", r"", r"""(^|[\s"'(=`])/(root|work|home/[a-z]\w*|Users/[A-Za-z]\w*)/""", '"/ho' + 'me/jo/x"', "the/home/page/ of"),
    ("a mark of a merge", r"", r"^(<{7}|={7}|>{7})( |$)", "<<<<" + "<<< main", "== a =="),
    ("a tab or a blank at the end", r"\.(rs|py|mjs|sh|toml|ya?ml|md|json|kql)$", r"[ \t]+$|^\t", "x ", "x"),
]


def tracked():
    """The text files in git, with their text."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if name in EXEMPT or not path.is_file():
            continue
        try:
            yield name, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def forbidden(name, text):
    for rule, files, pattern, _, _ in FORBIDDEN:
        if re.search(files, name):
            for number, line in enumerate(text.splitlines(), 1):
                if re.search(pattern, line):
                    yield f"{name}:{number}: {rule}: {line.strip()[:100]}"


def limits(name, text):
    if is_code(name, text):
        lines = text.splitlines()
        if len(lines) > FILE_LINES_MAX:
            yield f"{name}: {len(lines)} lines, at most {FILE_LINES_MAX}: split it by what it is about"
        for number, line in enumerate(lines, 1):
            if len(line) > LINE_CHARS_MAX and not name.endswith(".rs"):
                yield f"{name}:{number}: {len(line)} characters, at most {LINE_CHARS_MAX}"


def front_pages(name, text):
    if re.match(r"(src|simulator/src|testbed/src)/.*\.rs$", name) and not name.endswith("/tests.rs") and not text.startswith("//! "):
        yield f"{name}: begins without the sentence that says what it is for"


def shells(name, text):
    if re.match(r"#!.*\b(ba)?sh\b", text) and not re.search(r"^set -[a-z]*u[a-z]*o pipefail$", text, re.M):
        yield f"{name}: a shell script without set -u and pipefail"


def is_code(name, text):
    return pathlib.PurePath(name).suffix in CODE or text.startswith("#!")


def try_rules():
    """A rule that finds nothing would pass for ever."""
    for rule, _, pattern, wrong, right in FORBIDDEN:
        assert re.search(pattern, wrong), f"the rule on {rule} does not find {wrong!r}"
        assert not re.search(pattern, right), f"the rule on {rule} finds {right!r}"
    assert list(limits("a.rs", "x\n" * (FILE_LINES_MAX + 1))) and list(limits("a.py", "x" * (LINE_CHARS_MAX + 1)))
    assert list(front_pages("src/a.rs", "use x;")) and not list(front_pages("src/a.rs", "//! What it is for.\n"))
    assert list(shells("a", "#!/bin/sh\n")) and not list(shells("a", "#!/usr/bin/env bash\nset -euo pipefail\n"))


def main():
    try_rules()
    files = list(tracked())
    found = [problem for name, text in files for rule in (forbidden, limits, front_pages, shells) for problem in rule(name, text)]
    print("\n".join(found) if found else f"{len(files)} files keep the rules")
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main())
