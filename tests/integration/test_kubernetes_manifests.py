# SPDX-License-Identifier: Apache-2.0
"""deploy/kubernetes without a cluster: the chart is the base, and nobody gets more than he needs."""
import filecmp
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from support import kubernetes_programs

from support.containerd import TOOLS
from support.programs import SOURCE

DEPLOY = SOURCE / "deploy" / "kubernetes"
KUBERNETES = kubernetes_programs.programs(may_build=False)
KUBECTL = KUBERNETES and KUBERNETES / "kubectl"
HELM = shutil.which("helm", path=f"{TOOLS}:/usr/local/bin:/usr/bin")


def documents(text):
    return {(d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]): d for d in yaml.safe_load_all(text) if d}


def base():
    """As kustomize makes it, but for the digests in ConfigMaps' names."""
    kustomization = yaml.safe_load((DEPLOY / "base" / "kustomization.yaml").read_text())
    found = documents("\n---\n".join((DEPLOY / "base" / name).read_text() for name in kustomization["resources"]))
    for one in kustomization["configMapGenerator"]:
        metadata = {"name": one["name"], "namespace": one["namespace"], "labels": one["options"]["labels"]}
        data = {Path(file).name: (DEPLOY / "base" / file).read_text() for file in one["files"]}
        found["ConfigMap", one["namespace"], one["name"]] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    return found


def chart_as_text():
    """The templates with the values as they are; a block is left out when its value is empty or false."""
    values = yaml.safe_load((DEPLOY / "chart" / "values.yaml").read_text())

    def value(match):
        found = {"Values": values, "Release": {"Namespace": "zeropull-system"}}
        for name in match[1].split("."):
            found = found[name]
        return f'"{found}"' if match[2] else str(found)

    texts = []
    for path in sorted((DEPLOY / "chart" / "templates").glob("*.yaml")):
        text = re.sub(r"\s*\{\{- (?:with|if) .*?\{\{- end \}\}", "", path.read_text(), flags=re.DOTALL)
        text = re.sub(r"\{\{ include .*? \}\}", "checksum", text)
        texts.append(re.sub(r"\{\{ \.([A-Za-z.]+)( \| quote)? \}\}", value, text))
    return "\n---\n".join(texts)


def test_every_file_of_the_base_is_part_of_it():
    names = {str(path.relative_to(DEPLOY / "base")) for path in (DEPLOY / "base").rglob("*.yaml")}
    kustomization = yaml.safe_load((DEPLOY / "base" / "kustomization.yaml").read_text())
    generated = {file for one in kustomization["configMapGenerator"] for file in one["files"]}
    assert {*kustomization["resources"], *generated} == names - {"kustomization.yaml"}


def test_the_chart_is_what_make_chart_makes(tmp_path):
    subprocess.run([DEPLOY / "make-chart", tmp_path / "chart"], check=True)

    def same(comparison):
        assert (comparison.left_only, comparison.right_only, comparison.diff_files) == ([], [], [])
        for below in comparison.subdirs.values():
            same(below)

    same(filecmp.dircmp(DEPLOY / "chart", tmp_path / "chart"))


def hook_of(found):
    return found["metadata"].get("annotations", {}).get("helm.sh/hook")


def without_crds_and_namespace(found):
    """Nor Helm's hooks, which the base has not; and what names have in kustomize, annotations have in Helm."""
    kept = {key: value for key, value in found.items() if key[0] not in ("Namespace", "CustomResourceDefinition") and not hook_of(value)}
    for value in kept.values():
        template_of(value).get("metadata", {}).get("annotations", {}).pop("checksum/config", None)
    return kept


def template_of(found):
    return found.get("spec", {}).get("template", {}) if found["kind"] in ("Deployment", "DaemonSet") else {}


def test_the_chart_with_its_values_is_the_base():
    rendered = documents(chart_as_text())
    assert without_crds_and_namespace(rendered) == without_crds_and_namespace(base())


def test_the_chart_has_its_objects_removed_before_the_controller_is_and_by_nobody_else():
    hooks = {kind: found for (kind, _, _), found in documents(chart_as_text()).items() if hook_of(found)}
    assert sorted(hooks) == ["ClusterRole", "ClusterRoleBinding", "Job", "ServiceAccount"]
    assert {hook_of(found) for found in hooks.values()} == {"pre-delete"}
    assert {found["metadata"]["annotations"]["helm.sh/hook-delete-policy"] for found in hooks.values()} == {
        "before-hook-creation,hook-succeeded,hook-failed"}  # fmt: skip
    assert hooks["ClusterRole"]["rules"] == [
        {"apiGroups": ["zeropull.dev"], "resources": ["imagesnapshots", "clusterimagesnapshots"], "verbs": ["list", "delete"]}]  # fmt: skip
    spec, controller = (found["spec"]["template"]["spec"] for found in (hooks["Job"], base()["Deployment", "zeropull-system", "zeropull-controller"]))
    assert spec["containers"][0]["image"] == controller["containers"][0]["image"]
    for same in ("securityContext", "runtimeClassName"):
        assert spec[same] == controller[same]
    assert spec["containers"][0]["securityContext"] == controller["containers"][0]["securityContext"]
    assert hooks["ClusterRoleBinding"]["subjects"][0]["name"] == hooks["ServiceAccount"]["metadata"]["name"] == spec["serviceAccountName"]


@pytest.mark.skipif(not HELM, reason="no helm in the cache of test tools: go install helm.sh/helm/v3/cmd/helm@latest")
def test_helm_renders_the_chart_as_the_base(tmp_path):
    def render(*options):
        command = [HELM, "template", "zeropull", DEPLOY / "chart", "--namespace", "zeropull-system", "--include-crds", "--kube-version", "1.33.0", *options]
        return documents(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert without_crds_and_namespace(render()) == without_crds_and_namespace(base())
    values = tmp_path / "values.yaml"
    of_controller = {"registries": [{"host": "r.lan", "plain-http": "true"}], "targets": ["r.lan/s/**"],
                     "settings": {"executor": "Job", "cleanup-timeout": "5m", "platforms": ["linux/arm64"]}}  # fmt: skip
    of_job = {"cpu": "2", "settings": {"concurrency": 20, "ca-config-map": "ca", "node-selector": {"build": "yes"}}}
    values.write_text(yaml.safe_dump({"pullSecrets": True, "controller": of_controller, "job": of_job, "snapshotter": {"settings": {"cache_limit": "50G"}}}))
    changed = render("--values", values, "--set", "kubelet.kubeconfig=/etc/kubernetes/kubelet.conf")
    agent = changed["DaemonSet", "zeropull-system", "zeropull-snapshotter"]["spec"]["template"]["spec"]
    with_component = yaml.safe_load((DEPLOY / "components" / "private-images" / "agent.yaml").read_text())["spec"]["template"]["spec"]
    (wanted,), (given,) = with_component["containers"], [c for c in agent["containers"] if c["name"] == "agent"]
    assert given["command"] == wanted["command"]
    assert all(mount in given["volumeMounts"] for mount in wanted["volumeMounts"])
    assert all(volume in agent["volumes"] for volume in with_component["volumes"])
    assert ("ClusterRole", None, "zeropull-pull-secrets") in changed
    settings = changed["ConfigMap", "zeropull-system", "zeropull-snapshotter-config"]["data"]["snapshotter.yaml"]
    assert yaml.safe_load(settings)["cache_limit"] == "50G"
    settings = changed["ConfigMap", "zeropull-system", "zeropull-controller-config"]["data"]["controller.yaml"]
    controller = yaml.safe_load(settings)
    job, agents = controller.pop("job"), controller.pop("agents")
    assert controller == {"version": 1, "registries": of_controller["registries"], **of_controller["settings"]}
    assert agents == {"service-account": "zeropull-node", "targets": ["r.lan/s/**"]}
    assert {key: job[key] for key in job if key not in ("image", "memory")} == {"cpu": "2", **of_job["settings"]}


READERS = {"Deployment": "controller", "DaemonSet": "snapshotter"}


def pods_that_change(before, after):
    return {name for kind, name in READERS.items() if template_of(before[kind, "zeropull-system", f"zeropull-{name}"])
            != template_of(after[kind, "zeropull-system", f"zeropull-{name}"])}  # fmt: skip


@pytest.mark.skipif(not HELM, reason="no helm in the cache of test tools: go install helm.sh/helm/v3/cmd/helm@latest")
def test_helm_replaces_the_pods_whose_configuration_changes_and_no_others():
    def render(*options):
        command = [HELM, "template", "zeropull", DEPLOY / "chart", "--namespace", "zeropull-system", "--kube-version", "1.33.0", *options]
        return documents(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert pods_that_change(render(), render()) == set()
    assert pods_that_change(render(), render("--set", "job.cpu=2")) == {"controller"}
    assert pods_that_change(render(), render("--set", "snapshotter.settings.cache_limit=50G")) == {"snapshotter"}


def without_digests(found):
    texts = (re.sub(r"(zeropull-[a-z]+-config)-[0-9a-z]{10}", r"\1", yaml.safe_dump(one)) for one in found.values())
    return documents("\n---\n".join(texts))


@pytest.mark.skipif(not KUBECTL, reason="no Kubernetes in the cache of test tools")
@pytest.mark.parametrize("name", READERS.values())
def test_kustomize_replaces_the_pods_whose_configuration_changes_and_no_others(tmp_path, name):
    def build():
        return documents(subprocess.run([KUBECTL, "kustomize", tmp_path], check=True, capture_output=True, text=True).stdout)

    shutil.copytree(DEPLOY / "base", tmp_path / "base")
    overlay = tmp_path / "kustomization.yaml"
    overlay.write_text("resources: [base]\n")
    before = build()
    assert without_digests(before) == base()
    volumes = [template_of(found)["spec"]["volumes"] for (kind, _, _), found in before.items() if kind in READERS]
    mounted = {volume["configMap"]["name"] for found in volumes for volume in found if "configMap" in volume}
    assert mounted == {found for kind, _, found in before if kind == "ConfigMap"}
    (tmp_path / f"{name}.yaml").write_text((DEPLOY / "base" / "config" / f"{name}.yaml").read_text() + "# changed\n")
    overlay.write_text(f"""resources: [base]
configMapGenerator:
- {{name: zeropull-{name}-config, namespace: zeropull-system, behavior: merge, files: [{name}.yaml]}}
""")
    assert pods_that_change(before, build()) == {name}


def rules_of(kind, name):
    return next(d for (k, _, n), d in base().items() if (k, n) == (kind, name))["rules"]


@pytest.mark.parametrize("name", ["zeropull-controller", "zeropull-node"])
def test_nobody_may_do_everything_or_read_secrets(name):
    for rule in rules_of("ClusterRole", name):
        assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
        assert "secrets" not in rule["resources"]
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])


def containers():
    for (kind, _, name), found in base().items():
        if kind in ("Deployment", "DaemonSet"):
            for container in found["spec"]["template"]["spec"]["containers"]:
                yield f"{name}/{container['name']}", container


def test_only_who_mounts_is_privileged():
    privileged = [name for name, c in containers() if c["securityContext"].get("privileged")]
    assert privileged == ["zeropull-snapshotter/snapshotter"]
    for name, container in containers():
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert name in privileged or (context["capabilities"] == {"drop": ["ALL"]} and not context["allowPrivilegeEscalation"])


def test_zeropulls_own_pods_do_not_wait_for_zeropull():
    for (kind, _, _), found in base().items():
        if kind in ("Deployment", "DaemonSet"):
            template = found["spec"]["template"]
            assert template["spec"]["runtimeClassName"] == "overlayfs"
            assert template["metadata"]["annotations"]["io.containerd.cri.runtime-handler"] == "overlayfs"


def unbounded(schema, path):
    """What of a schema takes any amount of something. Of integers the format is an end."""
    kind, properties = schema["type"], schema.get("properties", {})
    ends = {"string": {"maxLength", "enum", "format"}, "array": {"maxItems"}, "integer": {"minimum"}, "object": {"maxProperties"}}
    if kind in ends and not ends[kind] & schema.keys() and not (kind == "object" and "additionalProperties" not in schema):
        yield path
    assert "x-kubernetes-preserve-unknown-fields" not in schema, path
    for name, inner in (*properties.items(), ("[]", schema.get("items")), ("{}", schema.get("additionalProperties"))):
        if inner and (path or name not in ("apiVersion", "kind", "metadata")):
            yield from unbounded(inner, f"{path}.{name}")


@pytest.mark.parametrize("path", sorted((DEPLOY / "base" / "crds").glob("*.yaml")), ids=lambda path: path.stem)
def test_each_value_of_an_object_has_a_bound(path):
    for version in yaml.safe_load(path.read_text())["spec"]["versions"]:
        assert list(unbounded(version["schema"]["openAPIV3Schema"], "")) == []


def test_a_node_that_has_all_controllers_can_be_drained():
    budgets = [found["spec"] for (kind, _, _), found in base().items() if kind == "PodDisruptionBudget"]
    assert [{key: value for key, value in spec.items() if key != "selector"} for spec in budgets] == [{"maxUnavailable": 1}]
