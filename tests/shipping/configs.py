"""Every configuration that deploy/ shows to an operator, given to `miro-siem check`: the Kubernetes ones and the README's.

Their secrets do not exist here, so their paths are pointed to files that do; nothing else is changed.
"""

import os
import pathlib
import re
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ["MIRO_SIEM_BINARY"]
# What a fragment of a README leaves out, because its reader has it already.
AN_ORG = '[orgs.acme]\ntoken = "not-a-token"\n[orgs.acme.audit]\n[orgs.acme.content]\n'


def check(text):
    """What `miro-siem check` makes of a configuration: its exit code and what it says."""
    with tempfile.TemporaryDirectory() as folder:
        for name in re.findall(r"/run/secrets/miro-siem/([\w.-]+)", text) + re.findall(r'credential = "([\w.-]+)"', text):
            pathlib.Path(folder, name).write_text("not-a-secret\n")
        text = text.replace("/run/secrets/miro-siem/", f"{folder}/").replace("/var/lib/miro-siem", f"{folder}/state")
        path = pathlib.Path(folder, "config.toml")
        path.write_text(text)
        environment = {"PATH": os.environ["PATH"], "CREDENTIALS_DIRECTORY": folder}
        done = subprocess.run([BINARY, "check", "--config", path], env=environment, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr


class Configurations(unittest.TestCase):
    def accepted(self, text):
        code, said = check(text)
        self.assertEqual(0, code, said)

    def test_the_kubernetes_configurations_are_accepted(self):
        files = sorted(ROOT.glob("deploy/kubernetes/*/config.toml"))
        self.assertEqual(2, len(files))
        for path in files:
            with self.subTest(path.parent.name):
                self.accepted(path.read_text())

    def test_the_fragments_of_the_sentinel_page_are_accepted(self):
        fragments = re.findall(r"```toml\n(.*?)```", (ROOT / "deploy/sentinel/README.md").read_text(), re.S)
        self.assertGreaterEqual(len(fragments), 1)
        for fragment in fragments:
            self.accepted(AN_ORG + fragment)

    def test_a_misspelt_key_is_refused_with_exit_code_2_and_its_name(self):
        text = (ROOT / "deploy/kubernetes/base/config.toml").read_text()
        code, said = check(text.replace("journal_max", "journal_maximum"))
        self.assertEqual(2, code, said)
        self.assertIn("journal_maximum", said)


if __name__ == "__main__":
    unittest.main(verbosity=2)
