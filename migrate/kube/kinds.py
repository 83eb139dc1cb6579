"""The resource types this project talks about, so that no other room spells an API path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource type. `versions` are the ones we understand, the preferred first; discovery picks the first that is served."""

    kind: str
    plural: str
    group: str = ""
    versions: tuple[str, ...] = ("v1",)
    namespaced: bool = True

    def api_version(self, version: str = "") -> str:
        """Return `apiVersion` as manifests spell it; without a version, the preferred one."""
        return "/".join(part for part in (self.group, version or self.versions[0]) if part)

    @property
    def qualified(self) -> str:
        """Return the name that people and the API server use: `virtualmachines.kubevirt.io`."""
        return ".".join(part for part in (self.plural, self.group) if part)

    def __str__(self) -> str:
        return self.kind


_INSTANCETYPE_VERSIONS = ("v1", "v1beta1")

NAMESPACE = Kind("Namespace", "namespaces", namespaced=False)
SECRET = Kind("Secret", "secrets")
CONFIGMAP = Kind("ConfigMap", "configmaps")
POD = Kind("Pod", "pods")
PVC = Kind("PersistentVolumeClaim", "persistentvolumeclaims")
PV = Kind("PersistentVolume", "persistentvolumes", namespaced=False)
SERVICE = Kind("Service", "services")
ENDPOINTS = Kind("Endpoints", "endpoints")
EVENT = Kind("Event", "events")
NODE = Kind("Node", "nodes", namespaced=False)
SERVICEACCOUNT = Kind("ServiceAccount", "serviceaccounts")
RESOURCEQUOTA = Kind("ResourceQuota", "resourcequotas")
LIMITRANGE = Kind("LimitRange", "limitranges")

LEASE = Kind("Lease", "leases", "coordination.k8s.io")
STORAGECLASS = Kind("StorageClass", "storageclasses", "storage.k8s.io", namespaced=False)
CSIDRIVER = Kind("CSIDriver", "csidrivers", "storage.k8s.io", namespaced=False)
RESOURCECLAIM = Kind("ResourceClaim", "resourceclaims", "resource.k8s.io", ("v1", "v1beta2", "v1beta1"))
RESOURCECLAIMTEMPLATE = Kind("ResourceClaimTemplate", "resourceclaimtemplates", "resource.k8s.io", ("v1", "v1beta2", "v1beta1"))
INGRESS = Kind("Ingress", "ingresses", "networking.k8s.io")
ROUTE = Kind("Route", "routes", "route.openshift.io")
NETWORKPOLICY = Kind("NetworkPolicy", "networkpolicies", "networking.k8s.io")
CRD = Kind("CustomResourceDefinition", "customresourcedefinitions", "apiextensions.k8s.io", namespaced=False)
APISERVICE = Kind("APIService", "apiservices", "apiregistration.k8s.io", namespaced=False)
PRIORITYCLASS = Kind("PriorityClass", "priorityclasses", "scheduling.k8s.io", namespaced=False)
CONTROLLERREVISION = Kind("ControllerRevision", "controllerrevisions", "apps")
DEPLOYMENT = Kind("Deployment", "deployments", "apps")
JOB = Kind("Job", "jobs", "batch")
CRONJOB = Kind("CronJob", "cronjobs", "batch")
ROLE = Kind("Role", "roles", "rbac.authorization.k8s.io")
ROLEBINDING = Kind("RoleBinding", "rolebindings", "rbac.authorization.k8s.io")
CLUSTERROLE = Kind("ClusterRole", "clusterroles", "rbac.authorization.k8s.io", namespaced=False)
CLUSTERROLEBINDING = Kind("ClusterRoleBinding", "clusterrolebindings", "rbac.authorization.k8s.io", namespaced=False)
ACCESS_REVIEW = Kind("SelfSubjectAccessReview", "selfsubjectaccessreviews", "authorization.k8s.io", namespaced=False)

VM = Kind("VirtualMachine", "virtualmachines", "kubevirt.io", ("v1", "v1alpha3"))
VMI = Kind("VirtualMachineInstance", "virtualmachineinstances", "kubevirt.io", ("v1", "v1alpha3"))
VMIM = Kind("VirtualMachineInstanceMigration", "virtualmachineinstancemigrations", "kubevirt.io", ("v1", "v1alpha3"))
KUBEVIRT = Kind("KubeVirt", "kubevirts", "kubevirt.io", ("v1", "v1alpha3"))
EXPORT = Kind("VirtualMachineExport", "virtualmachineexports", "export.kubevirt.io", ("v1", "v1beta1", "v1alpha1"))
SNAPSHOT = Kind("VirtualMachineSnapshot", "virtualmachinesnapshots", "snapshot.kubevirt.io", ("v1", "v1beta1", "v1alpha1"))
SNAPSHOT_CONTENT = Kind(
    "VirtualMachineSnapshotContent", "virtualmachinesnapshotcontents", "snapshot.kubevirt.io", ("v1", "v1beta1", "v1alpha1")
)
VOLUMESNAPSHOT = Kind("VolumeSnapshot", "volumesnapshots", "snapshot.storage.k8s.io")
VOLUMESNAPSHOTCONTENT = Kind("VolumeSnapshotContent", "volumesnapshotcontents", "snapshot.storage.k8s.io", namespaced=False)
VOLUMESNAPSHOTCLASS = Kind("VolumeSnapshotClass", "volumesnapshotclasses", "snapshot.storage.k8s.io", namespaced=False)
INSTANCETYPE = Kind("VirtualMachineInstancetype", "virtualmachineinstancetypes", "instancetype.kubevirt.io", _INSTANCETYPE_VERSIONS)
CLUSTERINSTANCETYPE = Kind(
    "VirtualMachineClusterInstancetype",
    "virtualmachineclusterinstancetypes",
    "instancetype.kubevirt.io",
    _INSTANCETYPE_VERSIONS,
    namespaced=False,
)
PREFERENCE = Kind("VirtualMachinePreference", "virtualmachinepreferences", "instancetype.kubevirt.io", _INSTANCETYPE_VERSIONS)
CLUSTERPREFERENCE = Kind(
    "VirtualMachineClusterPreference",
    "virtualmachineclusterpreferences",
    "instancetype.kubevirt.io",
    _INSTANCETYPE_VERSIONS,
    namespaced=False,
)

DATAVOLUME = Kind("DataVolume", "datavolumes", "cdi.kubevirt.io", ("v1beta1",))
CDI = Kind("CDI", "cdis", "cdi.kubevirt.io", ("v1beta1",), namespaced=False)
CDICONFIG = Kind("CDIConfig", "cdiconfigs", "cdi.kubevirt.io", ("v1beta1",), namespaced=False)
STORAGEPROFILE = Kind("StorageProfile", "storageprofiles", "cdi.kubevirt.io", ("v1beta1",), namespaced=False)
VOLUMEIMPORTSOURCE = Kind("VolumeImportSource", "volumeimportsources", "cdi.kubevirt.io", ("v1beta1",))
VOLUMEUPLOADSOURCE = Kind("VolumeUploadSource", "volumeuploadsources", "cdi.kubevirt.io", ("v1beta1",))
UPLOADTOKENREQUEST = Kind("UploadTokenRequest", "uploadtokenrequests", "upload.cdi.kubevirt.io", ("v1beta1",))
DATASOURCE = Kind("DataSource", "datasources", "cdi.kubevirt.io", ("v1beta1",))
NAD = Kind("NetworkAttachmentDefinition", "network-attachment-definitions", "k8s.cni.cncf.io")

KNOWN: Mapping[tuple[str, str], Kind] = {(kind.group, kind.kind): kind for kind in list(globals().values()) if isinstance(kind, Kind)}


def split_api_version(api_version: str) -> tuple[str, str]:
    """Return (group, version) of an `apiVersion`; the core group is the empty word."""
    group, _, version = api_version.rpartition("/")
    return group, version


def known_kind(manifest: Mapping[str, Any]) -> Kind | None:
    """Return the Kind of a manifest if it is one of the constants here. Raise ValueError for a thing without apiVersion and kind."""
    api_version, kind = manifest.get("apiVersion"), manifest.get("kind")
    if not isinstance(api_version, str) or not isinstance(kind, str) or not api_version or not kind:
        raise ValueError("a manifest needs apiVersion and kind")
    group, _version = split_api_version(api_version)
    return KNOWN.get((group, kind))
