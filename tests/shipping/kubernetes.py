"""deploy/kubernetes: every document against the schemas of Kubernetes, strictly, and the properties that are promised.

Not covered, because it needs a cluster: admission, volumes and the rolling of a pod. Where kubectl is installed, what kustomize renders
is validated as well; where it is not, the output says that this one was skipped.
"""

import copy
import pathlib
import re
import shutil
import subprocess
import tomllib
import unittest

import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
VARIANTS = ["base", "sidecar"]
# The oldest with sidecars that are on by default, and the newest that the validator knows.
KUBERNETES = ["1.29", "1.37"]
# The daemon's drain deadline.
DRAIN_SECS = 30
SECRETS = "/run/secrets/miro-siem"
STATE = "/var/lib/miro-siem"


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that is there twice, where YAML parsers silently keep the last one."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        doubled = {key for key in keys if keys.count(key) > 1}
        if doubled:
            raise yaml.constructor.ConstructorError(None, None, f"doubled keys {doubled}", node.start_mark)
        return super().construct_mapping(node, deep)


def load(text):
    return [document for document in yaml.load_all(text, Loader=StrictLoader) if document is not None]


def kustomization(variant):
    [document] = load((FOLDER / variant / "kustomization.yaml").read_text())
    return document


def documents(variant):
    """Every resource of a variant, as (file name, document)."""
    for name in kustomization(variant)["resources"]:
        for document in load((FOLDER / variant / name).read_text()):
            yield name, document


def problems(document):
    """What the schemas of every supported version have against a document."""
    found = []
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{version}: {error.message} at {list(error.path)}")
    return found


def workload(variant):
    [found] = [doc for _, doc in documents(variant) if doc["kind"] in ("StatefulSet", "Deployment")]
    return found


def pod(variant):
    return workload(variant)["spec"]["template"]["spec"]


def containers(spec):
    return spec.get("initContainers", []) + spec["containers"]


def ours(spec):
    return [container for container in containers(spec) if container["image"] == "miro-siem"]


def secret_files(value):
    """Every { file = "…" } of a configuration."""
    if not isinstance(value, dict):
        return []
    own = [value["file"]] if isinstance(value.get("file"), str) else []
    return own + [path for inner in value.values() for path in secret_files(inner)]


class Files(unittest.TestCase):
    def test_every_yaml_file_belongs_to_a_kustomization_and_every_listed_file_exists(self):
        listed = {FOLDER / variant / name for variant in VARIANTS for name in kustomization(variant)["resources"]}
        listed |= {FOLDER / variant / "kustomization.yaml" for variant in VARIANTS}
        self.assertEqual(listed, set(FOLDER.rglob("*.y*ml")))

    def test_every_generated_config_map_has_its_file_and_is_the_one_that_is_mounted(self):
        for variant in VARIANTS:
            [generator] = kustomization(variant)["configMapGenerator"]
            for name in generator["files"]:
                self.assertTrue((FOLDER / variant / name).is_file())
            mounted = [volume["configMap"]["name"] for volume in pod(variant)["volumes"] if "configMap" in volume]
            self.assertEqual([generator["name"]], mounted)

    def test_our_image_has_the_version_of_the_package(self):
        version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
        for variant in VARIANTS:
            self.assertIn({"name": "miro-siem", "newTag": version}, kustomization(variant)["images"])

    def test_no_two_resources_of_a_variant_have_one_name(self):
        for variant in VARIANTS:
            names = [(doc["kind"], doc["metadata"]["name"]) for _, doc in documents(variant)]
            self.assertEqual(len(names), len(set(names)))

    def test_no_secret_is_in_a_file(self):
        for variant in VARIANTS:
            self.assertNotIn("Secret", [doc["kind"] for _, doc in documents(variant)])


class Schemas(unittest.TestCase):
    def test_every_document_is_valid_strictly(self):
        count = 0
        for variant in VARIANTS:
            for name, document in documents(variant):
                with self.subTest(file=f"{variant}/{name}"):
                    self.assertEqual([], problems(document))
                    count += 1
        self.assertGreaterEqual(count, 6)

    def test_a_broken_document_is_refused(self):
        def spoil(change):
            document = copy.deepcopy(workload("base"))
            change(document)
            return problems(document)

        main = lambda doc: doc["spec"]["template"]["spec"]["containers"][0]
        cases = {
            "an unknown field": lambda doc: main(doc).update(commands=["x"]),
            "a field one level too high": lambda doc: doc["spec"].update(readOnlyRootFilesystem=True),
            "a text where a number belongs": lambda doc: doc["spec"].update(replicas="1"),
            "a number where a text belongs": lambda doc: main(doc).update(args=[1]),
            "a required field missing": lambda doc: doc["spec"].pop("selector"),
        }
        for name, change in cases.items():
            with self.subTest(name):
                self.assertNotEqual([], spoil(change))

    def test_a_doubled_key_is_refused(self):
        with self.assertRaises(yaml.YAMLError):
            load("spec:\n  replicas: 1\n  replicas: 2\n")


@unittest.skipIf(shutil.which("kubectl") is None, "kubectl is not installed")
class Rendered(unittest.TestCase):
    def test_what_kustomize_renders_is_valid(self):
        for variant in VARIANTS:
            rendered = subprocess.run(["kubectl", "kustomize", FOLDER / variant], check=True, capture_output=True, text=True)
            found = load(rendered.stdout)
            self.assertIn("ConfigMap", [document["kind"] for document in found])
            for document in found:
                with self.subTest(variant=variant, kind=document["kind"]):
                    self.assertEqual([], problems(document))


def each_pod():
    return [(variant, pod(variant)) for variant in VARIANTS]


class Promises(unittest.TestCase):
    def test_pods_run_without_rights(self):
        for _, spec in each_pod():
            context = spec["securityContext"]
            self.assertIs(context["runAsNonRoot"], True)
            self.assertEqual((65532, 65532, 65532), (context["runAsUser"], context["runAsGroup"], context["fsGroup"]))
            self.assertEqual("RuntimeDefault", context["seccompProfile"]["type"])
            self.assertIs(spec["automountServiceAccountToken"], False)
            self.assertFalse({"hostNetwork", "hostPID", "hostIPC"} & spec.keys())

    def test_containers_are_locked_and_limited(self):
        for _, spec in each_pod():
            for container in containers(spec):
                context = container["securityContext"]
                self.assertIs(context["allowPrivilegeEscalation"], False)
                self.assertIs(context["readOnlyRootFilesystem"], True)
                self.assertEqual({"drop": ["ALL"]}, context["capabilities"])
                self.assertLessEqual({"cpu", "memory"}, container["resources"]["requests"].keys())
                self.assertIn("memory", container["resources"]["limits"])

    def test_images_of_others_are_pinned(self):
        for _, spec in each_pod():
            for container in containers(spec):
                if container["image"] != "miro-siem":
                    self.assertRegex(container["image"], r":\d+\.\d+\.\d+$|@sha256:")

    def test_the_user_is_the_one_of_the_image(self):
        user = re.search(r"^USER (\d+):", (ROOT / "Dockerfile").read_text(), re.M).group(1)
        for _, spec in each_pod():
            self.assertEqual(int(user), spec["securityContext"]["runAsUser"])

    def test_one_process_for_one_state_directory(self):
        for variant in VARIANTS:
            self.assertEqual(1, workload(variant)["spec"]["replicas"])
        self.assertEqual("StatefulSet", workload("base")["kind"])
        self.assertEqual("Recreate", workload("sidecar")["spec"]["strategy"]["type"])

    def test_a_drain_fits_into_the_grace_period(self):
        for _, spec in each_pod():
            self.assertGreater(spec["terminationGracePeriodSeconds"], DRAIN_SECS)

    def test_the_daemon_is_probed_from_inside(self):
        for _, spec in each_pod():
            for container in ours(spec):
                if container["args"][0] != "run":
                    continue
                command = container["livenessProbe"]["exec"]["command"]
                self.assertEqual(["/usr/bin/miro-siem", "status", "--config", "/etc/miro-siem/config.toml"], command)

    def test_the_sidecar_is_one(self):
        [sidecar] = ours(pod("sidecar"))
        self.assertIn(sidecar, pod("sidecar")["initContainers"])
        self.assertEqual("Always", sidecar["restartPolicy"])

    def test_every_mount_has_its_volume_and_every_claim_exists(self):
        for variant, spec in each_pod():
            templates = workload(variant)["spec"].get("volumeClaimTemplates", [])
            volumes = {volume["name"] for volume in spec["volumes"]} | {template["metadata"]["name"] for template in templates}
            for container in containers(spec):
                for mount in container.get("volumeMounts", []):
                    self.assertIn(mount["name"], volumes)
            claims = {doc["metadata"]["name"] for _, doc in documents(variant) if doc["kind"] == "PersistentVolumeClaim"}
            for volume in spec["volumes"]:
                if "persistentVolumeClaim" in volume:
                    self.assertIn(volume["persistentVolumeClaim"]["claimName"], claims)

    def test_labels_lead_from_selectors_to_pods(self):
        for variant in VARIANTS:
            labels = workload(variant)["spec"]["template"]["metadata"]["labels"]
            self.assertEqual(labels, workload(variant)["spec"]["selector"]["matchLabels"])
            for _, doc in documents(variant):
                if doc["kind"] == "Service":
                    self.assertLessEqual(doc["spec"]["selector"].items(), labels.items())
                    self.assertEqual(workload(variant)["spec"]["serviceName"], doc["metadata"]["name"])

    def test_configurations_keep_state_on_the_volume_and_secrets_in_the_secret(self):
        for variant, spec in each_pod():
            config = tomllib.loads((FOLDER / variant / "config.toml").read_text())
            self.assertRegex(config["state"]["dir"], rf"^{STATE}/.+")
            files = secret_files(config)
            self.assertGreaterEqual(len(files), 2)
            for path in files:
                self.assertEqual(SECRETS, str(pathlib.PurePosixPath(path).parent))
            for container in ours(spec):
                mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
                self.assertLessEqual({SECRETS, "/etc/miro-siem"}, mounts)
                self.assertTrue(STATE in mounts or container["args"][0] == "check")

    def test_the_journal_fits_into_its_volume(self):
        claims = {
            "base": workload("base")["spec"]["volumeClaimTemplates"][0],
            "sidecar": next(doc for _, doc in documents("sidecar") if doc["kind"] == "PersistentVolumeClaim"),
        }
        for variant, claim in claims.items():
            config = tomllib.loads((FOLDER / variant / "config.toml").read_text())
            journal = config["state"]["journal_max"].removesuffix("GiB")
            volume = claim["spec"]["resources"]["requests"]["storage"].removesuffix("Gi")
            self.assertLess(int(journal), int(volume))


if __name__ == "__main__":
    unittest.main(verbosity=2)
