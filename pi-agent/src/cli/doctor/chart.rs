//! Advice for an agent that the Helm chart runs: changes belong into the chart's values, because those
//! in a pod or on the node do not last.

/// Advice for a node, and its equivalent for the chart. A longer entry comes before one that is its
/// prefix.
const INSTEAD: [(&str, &str); 17] = [
    (
        "start it (systemctl start pi-agent, or look at the DaemonSet's pod on this node)",
        "look at this pod's containers with kubectl describe pod, and at their logs",
    ),
    ("run pi-agent configure with the same", "with it"),
    (
        "pi-agent configure --registry ",
        "add to agent.hosts.registries (agent.hosts.mode=write): ",
    ),
    ("pi-agent configure", "agent.hosts.mode=write"),
    ("--containerd-socket", "agent.containerd.socket"),
    ("--containerd-namespace", "agent.containerd.namespaces"),
    ("--containerd-config", "agent.containerd.config"),
    ("--content-path", "agent.containerd.content"),
    ("--hosts-dir", "agent.hosts.directory"),
    ("--mirror-listen", "agent.ports.mirror"),
    ("--mirror-url", "agent.ports.mirror"),
    ("--peer-listen [::]:7787", "agent.ports.peer"),
    ("--accounting tcp-info", "agent.accounting=off"),
    ("--share-tags", "--share-tags in agent.extraArgs"),
    ("--server", "agent.servers"),
    (
        "the container's capabilities, as user 0",
        "agent.capabilities, with agent.accounting=capabilities",
    ),
    ("run as root", "look at the pod's security context"),
];
/// How a value is set.
const HOW: &str = "\n(names like agent.hosts.mode are values of the chart: helm upgrade --reuse-values \
                   --set NAME=VALUE)";

/// The remedy for an agent of the chart.
pub(super) fn advice(remedy: &str) -> String {
    let advice = INSTEAD
        .iter()
        .fold(remedy.to_owned(), |text, (node, chart)| {
            text.replace(node, chart)
        });
    if advice.contains("agent.") {
        advice + HOW
    } else {
        advice
    }
}
