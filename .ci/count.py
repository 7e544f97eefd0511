"""Bazel's build events in, one line of totals out: the cases of every test report that the run names."""

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from urllib.parse import unquote, urlparse


def reports(events: Path) -> list[Path]:
    """The test.xml of each test, whether it ran now or its result was cached."""
    results = (json.loads(line).get("testResult", {}) for line in events.read_text().splitlines())
    outputs = (output for result in results for output in result.get("testActionOutput", []))
    return [Path(unquote(urlparse(output["uri"]).path)) for output in outputs if output["name"] == "test.xml"]


def main() -> None:
    passed = failed = skipped = 0
    for report in reports(Path(sys.argv[1])):
        for case in ElementTree.parse(report).iter("testcase"):
            children = {child.tag for child in case}
            if children & {"failure", "error"}:
                failed += 1
                print(f"failed: {case.get('classname') or ''} {case.get('name')}")
            elif "skipped" in children:
                skipped += 1
            else:
                passed += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(failed > 0 or passed == 0)


if __name__ == "__main__":
    main()
