#!/usr/bin/env bash
# Makes in a cluster what the kubernetes runtime needs, and no more: a namespace, a ServiceAccount with rights in that namespace only, and
# NetworkPolicies. Run it again to bring them up to date. It is kubectl's current context that it changes (KUBECONFIG, or KUBECTL="kubectl --context X").
#
#   MCP_NAMESPACE       the namespace of the replicas (mcp-servers)
#   TOOLYARD_ACCOUNT    the ServiceAccount that Toolyard is (toolyard)
#   TOOLYARD_NAMESPACE  where Toolyard's pods run, if they do in this cluster; their namespace reaches the replicas (toolyard)
#   TOOLYARD_CIDR       addresses from which Toolyard reaches the replicas, if it runs elsewhere, such as 10.0.0.5/32
#   POD_SECURITY        the Pod Security level of the namespace (baseline); restricted needs MCP_RUN_AS_USER
set -euo pipefail
read -ra kubectl <<<"${KUBECTL:-kubectl}"
namespace=${MCP_NAMESPACE:-mcp-servers} account=${TOOLYARD_ACCOUNT:-toolyard} home=${TOOLYARD_NAMESPACE:-toolyard} level=${POD_SECURITY:-baseline}
for name in "$namespace" "$account" "$home" "$level"; do
  [[ $name =~ ^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$ ]] || { echo "setup-k8s: not a name that Kubernetes takes: $name" >&2; exit 2; }
done
[[ ${TOOLYARD_CIDR:-0.0.0.0/0} =~ ^[0-9a-fA-F.:]+/[0-9]+$ ]] || { echo "setup-k8s: TOOLYARD_CIDR is no range of addresses: $TOOLYARD_CIDR" >&2; exit 2; }
# What the chart has, too.
shared=$(dirname "${BASH_SOURCE[0]}")/../deploy/helm/toolyard/files
elsewhere=
[[ -z ${TOOLYARD_CIDR:-} ]] || elsewhere="
        - ipBlock: {cidr: \"$TOOLYARD_CIDR\"}"

"${kubectl[@]}" apply --server-side --force-conflicts --field-manager toolyard-setup -f - >&2 <<MANIFESTS
apiVersion: v1
kind: Namespace
metadata:
  name: $namespace
  labels:
    app.kubernetes.io/part-of: toolyard
    pod-security.kubernetes.io/enforce: $level
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: $account, namespace: $namespace}
automountServiceAccountToken: false
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: $account, namespace: $namespace}
rules:
$(<"$shared/replica-rights.yaml")
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: $account, namespace: $namespace}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: $account}
subjects:
  - {kind: ServiceAccount, name: $account, namespace: $namespace}
---
# Replicas are reached by Toolyard alone, not by each other.
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: toolyard-reaches-replicas, namespace: $namespace}
spec:
  podSelector: {matchLabels: {app.kubernetes.io/managed-by: toolyard}}
  policyTypes: [Ingress]
  ingress:
    - from:
        - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: $home}}$elsewhere
---
# Replicas reach any address but those where a cloud serves a node its credentials. Those with an egress list have a policy of their own.
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: replicas-reach-no-node, namespace: $namespace}
spec:
  podSelector:
    matchLabels: {app.kubernetes.io/managed-by: toolyard}
    matchExpressions: [{key: toolyard.dev/egress, operator: DoesNotExist}]
  policyTypes: [Egress]
  egress:
$(sed "s/^/    /" "$shared/replica-egress.yaml")
MANIFESTS

server=$("${kubectl[@]}" config view --minify --raw -o 'jsonpath={.clusters[0].cluster.server}')
cat <<SETTINGS
# Toolyard's settings. In a pod of this namespace with serviceAccountName: $account and automountServiceAccountToken: true the first two are all that is
# needed.
MCP_DEPLOYMENT_BACKEND=process,kubernetes
MCP_NAMESPACE=$namespace
KUBERNETES_CLUSTER_ENDPOINT=$server
# fill in: the path of a file with the certificate of the cluster's authority, as printed by
#   ${kubectl[*]} --namespace $namespace get configmap kube-root-ca.crt -o 'jsonpath={.data.ca\.crt}'
KUBERNETES_CA_FILE=
# fill in: a token, and a new one before it ends, as printed by
#   ${kubectl[*]} --namespace $namespace create token $account --duration 720h
KUBERNETES_SERVICE_ACCOUNT_TOKEN=
SETTINGS
