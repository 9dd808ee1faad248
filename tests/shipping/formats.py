"""Asks the official OCSF schemas, as the package ocsf-json-schema has them, about every record in the golden files.

The schemas do not see whether type_uid agrees with class_uid and activity_id, so that is checked here. Each fault that a record can have is
made on purpose, and has to be found.
"""

import copy
import functools
import json
import pathlib
import sys

import jsonschema
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "tests/golden/formats"
FILES = ["ocsf.ndjson", "ocsf-smaller.ndjson", "ocsf-redacted.ndjson"]
OCSF = OcsfJsonSchemaEmbedded(get_ocsf_schema(version="1.8.0"))

# (what is wrong, how it is made wrong)
FAULTS = [
    ("a required attribute is missing", lambda record: record.pop("time")),
    ("an unknown attribute", lambda record: record.update(colour="red")),
    ("a null", lambda record: record.update(raw_data=None)),
    ("a severity that does not exist", lambda record: record.update(severity_id=42)),
    ("a class of another category", lambda record: record.update(category_uid=2)),
    ("an activity that does not exist", lambda record: record.update(activity_id=77)),
    ("an actor that is nobody", lambda record: record.update(actor={"user": {"email_addr": "nobody"}})),
    ("a type that is not class and activity", lambda record: record.update(type_uid=record["type_uid"] + 1)),
]


@functools.lru_cache(maxsize=None)
def validator(class_uid, profiles):
    name = OCSF.lookup_class_name_from_uid(class_uid=class_uid)
    return jsonschema.Draft202012Validator(OCSF.get_class_schema(class_name=name, profiles=list(profiles)))


def faults(record):
    profiles = tuple(record.get("metadata", {}).get("profiles", []))
    found = [f"{error.json_path}: {error.message[:200]}" for error in validator(record["class_uid"], profiles).iter_errors(record)]
    if record["type_uid"] != record["class_uid"] * 100 + record["activity_id"]:
        found.append("type_uid is not class_uid * 100 + activity_id")
    return found


def main():
    problems, checked, broken, classes = [], 0, 0, {}
    for name in FILES:
        for number, line in enumerate((GOLDEN / name).read_text(encoding="utf-8").split("\n")[:-1], 1):
            record = json.loads(line)
            problems += [f"{name}:{number}: {problem}" for problem in faults(record)]
            checked += 1
            if classes.setdefault(record["class_uid"], record) is not record:
                continue
            for fault, make in FAULTS:
                wrong = copy.deepcopy(record)
                make(wrong)
                broken += 1
                if not faults(wrong):
                    problems.append(f"{name}:{number}: nothing was found in a record with {fault}")
    print("\n".join(problems[:50]) or f"{checked} records of {len(classes)} classes are valid, {broken} broken ones were found out")
    return 1 if problems or checked < 300 or len(classes) < 8 else 0


if __name__ == "__main__":
    sys.exit(main())
