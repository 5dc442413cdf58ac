#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the include layering of src/ and reports what is too long.

A folder includes its own headers and those of folders before it in LAYERS. Violations are errors
(exit status 1), as are includes that name no file. Files over 800 and functions over 60 lines are
reported only: reviewers may waive them. A line that must break a rule says so:

    #include "x/y.h" // layers: why
"""
import pathlib
import re
import sys

LAYERS = "base abi host sched ninep net platform mem kern vfs task fs socket sys gofer oci cmd".split()
# Folders that see less than what is before them.
ONLY = {"gofer": {"base", "abi", "host", "ninep"}, "net": {"base"}, "ninep": {"base", "abi", "host"}}
# Leaf headers that anybody may include: no state, nothing but base/attr.h behind them.
LEAVES = {"host/raw.h"}
GENERATED = {"stub_syms.h"}
MAX_FILE, MAX_FUNCTION = 800, 60

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"(.*)$')


def layer_errors(root, path, lines):
    layer = path.relative_to(root).parts[0]
    if layer not in LAYERS:
        yield 1, f"folder src/{layer} is not in the layer list"
        return
    allowed = ONLY.get(layer, set(LAYERS[: LAYERS.index(layer)])) | {layer}
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        name, rest = match.groups()
        if name in LEAVES or name in GENERATED or "layers:" in rest:
            continue
        if not (root / name).exists():
            if any(f'__has_include("{name}")' in other for other in lines):
                continue  # the file does without
            # A header of the same folder, or of the stub's build.
            if (path.parent / name).exists():
                continue
            yield number, f'"{name}" does not exist'
            continue
        target = name.split("/")[0]
        if target not in allowed:
            yield number, f"src/{layer} must not include {name}"


def functions(lines):
    """(first line, name, length) of every function body, by the braces in column 0."""
    start = None
    for number, line in enumerate(lines, 1):
        if line.startswith("{"):
            start = number
        elif line.startswith("}") and start is not None:
            head = " ".join(lines[max(0, start - 4) : start - 1])
            names = re.findall(r"([A-Za-z_]\w*)\s*\(", head)
            yield start, names[-1] if names else "?", number - start + 1
            start = None


def main():
    root = pathlib.Path(__file__).resolve().parent.parent / "src"
    errors = reports = 0
    for path in sorted(root.rglob("*.[chS]")) + sorted(root.rglob("*.def")):
        lines = path.read_text().splitlines()
        shown = path.relative_to(root.parent)
        if path.stem.endswith(("_test", "_fuzz")):
            continue  # tests may look at anything
        for number, what in layer_errors(root, path, lines):
            print(f"{shown}:{number}: error: {what}")
            errors += 1
        if len(lines) > MAX_FILE:
            print(f"{shown}: note: {len(lines)} lines (limit {MAX_FILE})")
            reports += 1
        if path.suffix != ".c":
            continue
        for number, name, length in functions(lines):
            if length > MAX_FUNCTION + 2:
                print(f"{shown}:{number}: note: {name} has {length} lines (limit {MAX_FUNCTION})")
                reports += 1
    print(f"layers: {errors} errors, {reports} notes")
    return 1 if errors else 0


sys.exit(main())
