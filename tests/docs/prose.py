"""Finds sentences that are hard to read, by patterns: `python3 -m tests.docs.prose`.

It reads documents, comments and docstrings. A pattern is a hint: the check fails only if more than LIMIT lines in a
thousand match, and prints each of them. CONTRIBUTING.md describes the style. EXCEPTIONS lists lines that are right as
they are.
"""

import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
LIMIT = 2.0
# Each pattern with what to write instead.
PATTERNS = {
    r"(^|[.;:] )(What|Who|Whoever|Whatever) (is|are|was|has|have|comes|goes|lacks)\b": "start with the thing itself",
    r"(^|[.;:] )(What|Who|Whoever|Whatever) (runs|waits|asks|only|still|cannot|does|it)\b": "name the subject",
    r"\b(that|those) (for|of) (an?|the) \w+[,.;]": "repeat the noun",
    r"\b(of|from) which\b|\bto whom\b": "make two sentences",
    r"\b(is|are) told\b": "name who sends, prints or reports what",
    r"\bmend(s|ed)?\b": "fix",
    r"\banew\b": "again",
    r"\bin vain\b": "without success",
    r"\ball the same\b": "anyway",
    r"\bsomebody('s)?\b": "name the person, or use the passive voice",
    r"\bmeanwhile\b": "during …, in between",
    r"\bhas it\b|\bas it should\b": "say what it has or should do",
    r"\bthe way back\b": "rollback, return",
    r"\bone's own\b": "your own",
    r"\bis away\b": "is unavailable",
}
# A file, and a phrase that may stay in it; "" is the whole file.
EXCEPTIONS = {
    ("docs/lab.md", ""),  # generated
    ("tests/docs/prose.py", ""),  # quotes the patterns
}
FOUND = re.compile("|".join(f"(?:{pattern})" for pattern in PATTERNS), re.IGNORECASE)
SKIPPED = (".lock", ".patch", ".json", ".svg", ".png", ".html", ".css", ".js")


def prose(file: str, text: str) -> dict[int, str]:
    """Return the lines that people read, by number: documents without code, comments, docstrings."""
    found, quoted = {}, False
    for number, line in enumerate(text.splitlines(), 1):
        part = ""
        if file.endswith(".md"):
            if line.lstrip().startswith("```"):
                quoted = not quoted
            elif not quoted:
                part = line
        elif file.endswith(".py"):
            if line.count('"""') == 1:
                quoted, part = not quoted, line
            elif quoted or '"""' in line:
                part = line
            elif "# " in line:
                part = line.split("# ", 1)[1]
        elif re.match(r"\s*[#;] ", line):
            part = line
        if part.strip():
            found[number] = part.strip()
    return found


def advice(line: str) -> str:
    return next(words for pattern, words in PATTERNS.items() if re.search(pattern, line, re.IGNORECASE))


def main() -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    total, hits = 0, []
    for file in files:
        excepted = [phrase for name, phrase in EXCEPTIONS if name == file]
        path = PROJECT / file
        if file.endswith(SKIPPED) or "" in excepted or not path.is_file():
            continue
        for number, line in prose(file, path.read_text(encoding="utf-8", errors="replace")).items():
            total += 1
            if FOUND.search(line) and not any(phrase in line for phrase in excepted):
                hits.append(f"{file}:{number}: {line}\n    {advice(line)}")
    rate = 1000 * len(hits) / max(total, 1)
    print(f"prose: {len(hits)} of {total} lines, {rate:.1f} in a thousand (at most {LIMIT:g})")
    if rate > LIMIT:
        sys.exit("\n".join(hits))


if __name__ == "__main__":
    main()
