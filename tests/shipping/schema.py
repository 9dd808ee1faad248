"""`miro-siem schema` as an editor uses it: an independent validator takes the schema, every shipped configuration, and no misspelt key."""

import copy
import json
import os
import pathlib
import re
import subprocess
import tomllib
import unittest

import jsonschema

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ["MIRO_SIEM_BINARY"]
SCHEMA = json.loads(subprocess.run([BINARY, "schema"], check=True, capture_output=True, text=True, timeout=60).stdout)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def shipped():
    """Each configuration with its name: the examples, the manifests' and the README's."""
    files = sorted(ROOT.glob("config/**/*.toml")) + sorted(ROOT.glob("deploy/kubernetes/*/config.toml"))
    for path in files:
        yield str(path.relative_to(ROOT)), tomllib.loads(path.read_text())
    # The README begins with a whole configuration, and shows tables that may be added to it.
    whole = {}
    for fragment in re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.S):
        whole |= tomllib.loads(fragment)
        yield "README.md", dict(whole)


def every_key_of_the_default():
    """config/default.toml with its commented keys switched on, but for those that exclude each other."""
    lines = []
    for line in (ROOT / "config/default.toml").read_text().splitlines():
        key = line[1:] if re.match(r"#[a-z\[]", line) else line
        lines.append("" if re.match(r"(oauth|managed_identity|workload_identity) =", key) else key)
    return tomllib.loads("\n".join(lines))


def tables(value, path=()):
    """Every table in a configuration whose keys are fixed, by its path."""
    if isinstance(value, dict):
        if path not in ((), ("orgs",), ("sinks",)) and path[-1:] not in (("fields",), ("headers",)):
            yield path
        for name, inner in value.items():
            yield from tables(inner, (*path, name))


def misspelt(configuration, path):
    changed = copy.deepcopy(configuration)
    table = changed
    for name in path:
        table = table[name]
    table["mispelt_key"] = 1
    return changed


class Schema(unittest.TestCase):
    def test_the_schema_is_one(self):
        self.assertEqual("https://json-schema.org/draft/2020-12/schema", SCHEMA["$schema"])
        jsonschema.Draft202012Validator.check_schema(SCHEMA)

    def test_every_shipped_configuration_is_taken(self):
        count = 0
        for name, configuration in shipped():
            with self.subTest(name):
                self.assertEqual([], [error.message for error in VALIDATOR.iter_errors(configuration)])
                count += 1
        self.assertGreaterEqual(count, 11)

    def test_every_key_of_the_default_configuration_is_taken(self):
        self.assertEqual([], [error.message for error in VALIDATOR.iter_errors(every_key_of_the_default())])

    def test_a_misspelt_key_is_refused_in_every_table(self):
        configuration = every_key_of_the_default()
        paths = list(tables(configuration))
        self.assertGreaterEqual(len(paths), 15)
        for path in paths:
            with self.subTest(".".join(path)):
                self.assertFalse(VALIDATOR.is_valid(misspelt(configuration, path)))
        self.assertFalse(VALIDATOR.is_valid({**configuration, "sink": {}}))

    def refused(self, path, value):
        configuration = every_key_of_the_default()
        *around, last = path.split(".")
        table = configuration
        for name in around:
            table = table[name]
        table[last] = value
        self.assertFalse(VALIDATOR.is_valid(configuration), f"{path} = {value!r}")

    def test_values_of_another_form_are_refused(self):
        for path, value in [
            ("orgs.acme.audit.poll_interval", 300),
            ("orgs.acme.audit.poll_interval", "5"),
            ("orgs.acme.audit.page_size", "500"),
            ("orgs.acme.token", {"file": "a", "env": "b"}),
            ("sinks.stdout.type", "splunk"),
            ("sinks.stdout.url", "https://siem.example.com"),
            ("sinks.stdout.tls", {"ca_file": "a"}),
            ("sinks.stdout.streams", ["audits"]),
            ("sinks.splunk_hec.ack", "true"),
            ("sinks.splunk_hec.url", "siem.example.com"),
            ("sinks.splunk_hec.compression", "zstd"),
            ("orgs.two__names", {"audit": {}}),
        ]:
            with self.subTest(path):
                self.refused(path, value)


if __name__ == "__main__":
    unittest.main(verbosity=2)
