//! Who a token's pod is, by what Kubernetes says of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use daemon::{
    cidr::Cidr,
    tls::{Identity, Role},
};
use piccolo_api::Group;
use serde_json::Value;

use super::{kubernetes::Kubernetes, refusal::Refused};
use crate::{
    config::{Account, ObjectName, PkiServe},
    pki::subject::Subject,
};

/// The API's names of what it says of a token besides its user.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// What the error of a review may have in a log.
const MOST_SAID: usize = 200;

/// Knows pods by their tokens.
#[derive(Debug)]
pub(super) struct Pods {
    kubernetes: Kubernetes,
    audience: String,
    accounts: Vec<(Account, Is)>,
    server_hosts: Vec<String>,
    node_cidrs: Vec<Cidr>,
    domain: String,
}

/// What the pods of an account are.
#[derive(Debug, Clone)]
enum Is {
    Agent(Group),
    Server,
}

/// A pod that is to have a certificate.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) subject: Subject,
    pub(super) pod: ObjectName,
    pub(super) uid: String,
}

/// What a token says.
struct Bearer<'a> {
    is: &'a Is,
    account: &'a Account,
    pod: ObjectName,
    uid: String,
    /// Since Kubernetes 1.29.
    node: Option<String>,
}

impl Pods {
    pub(super) fn new(settings: &PkiServe, kubernetes: Kubernetes) -> Self {
        let agents = settings.agents.iter();
        let agents = agents.map(|of| (of.account.clone(), Is::Agent(of.group.clone())));
        let servers = settings.servers.iter();
        let servers = servers.map(|account| (account.clone(), Is::Server));
        Self {
            kubernetes,
            audience: settings.audience.clone(),
            accounts: agents.chain(servers).collect(),
            server_hosts: settings.server_host.clone(),
            node_cidrs: settings.node_cidrs.clone(),
            domain: settings.domain.clone(),
        }
    }

    /// Finds out whose token it is. Only what the API says counts.
    pub(super) async fn find(&self, token: &str) -> Result<Known, Refused> {
        let bearer = self.bearer(token).await?;
        let refused = |why| Refused::Pod {
            pod: bearer.pod.to_string(),
            why,
        };
        let pod = self.kubernetes.pod(&bearer.pod).await?;
        let pod = pod.ok_or_else(|| refused("is gone"))?;
        if text(&pod, "/metadata/uid") != Some(&bearer.uid) {
            return Err(refused("is another one than the token's"));
        }
        if text(&pod, "/spec/serviceAccountName") != Some(&bearer.account.name) {
            return Err(refused("has another service account than the token"));
        }
        if let Some("Succeeded" | "Failed") = text(&pod, "/status/phase") {
            return Err(refused("has ended"));
        }
        if pod.pointer("/metadata/deletionTimestamp").is_some() {
            return Err(refused("is about to end"));
        }
        let node = text(&pod, "/spec/nodeName").filter(|name| !name.is_empty());
        let node = node.ok_or_else(|| refused("is on no node"))?;
        if bearer.node.as_deref().is_some_and(|said| said != node) {
            return Err(refused("is on another node than the token says"));
        }
        let subject = match bearer.is {
            Is::Agent(group) => self.agent(group, &pod, node).await?,
            Is::Server => self
                .server(&bearer.pod, &pod)
                .ok_or_else(|| refused("has no address yet"))??,
        };
        Ok(Known {
            subject,
            pod: bearer.pod,
            uid: bearer.uid,
        })
    }

    /// What a token says that counts.
    async fn bearer(&self, token: &str) -> Result<Bearer<'_>, Refused> {
        let status = self.kubernetes.review(token, &self.audience).await?;
        let wrong = |why: &str| Refused::Token(why.to_owned());
        if status["authenticated"] != true {
            let why = status["error"].as_str().unwrap_or("it is not valid");
            let why = why.replace(token, "(the token)");
            return Err(Refused::Token(why.chars().take(MOST_SAID).collect()));
        }
        // Who reviews without knowing of audiences names none.
        let audiences = status["audiences"].as_array();
        if !audiences.is_some_and(|all| all.iter().any(|one| *one == *self.audience)) {
            return Err(wrong("it is for another audience"));
        }
        let user = text(&status, "/user/username").unwrap_or_default();
        let is_it = |account: &Account| {
            let Account { namespace, name } = account;
            format!("system:serviceaccount:{namespace}:{name}") == user
        };
        let found = self.accounts.iter().find(|(account, _)| is_it(account));
        let (account, is) = found.ok_or_else(|| Refused::Account(user.to_owned()))?;
        let extra = |name: &str| {
            let values = status["user"]["extra"][name].as_array()?;
            Some(values.first()?.as_str()?.to_owned())
        };
        let (Some(name), Some(uid)) = (extra(POD_NAME), extra(POD_UID)) else {
            return Err(wrong("it is bound to no pod"));
        };
        let pod = format!("{}/{name}", account.namespace).parse();
        let pod = pod.map_err(|_error| wrong("its pod has a strange name"))?;
        Ok(Bearer {
            is,
            account,
            pod,
            uid,
            node: extra(NODE_NAME),
        })
    }

    /// An agent is at its node's addresses, if it is on the node's own network.
    async fn agent(&self, group: &Group, pod: &Value, name: &str) -> Result<Subject, Refused> {
        let refused = |why| Refused::Node {
            node: name.to_owned(),
            why,
        };
        let named: Result<ObjectName, _> = format!("nodes/{name}").parse();
        if named.is_err() {
            return Err(refused("has a strange name"));
        }
        let node = self.kubernetes.node(name).await?;
        let node = node.ok_or_else(|| refused("is gone"))?;
        let mut addresses = Vec::new();
        if pod.pointer("/spec/hostNetwork") == Some(&Value::Bool(true)) {
            let all = node.pointer("/status/addresses").and_then(Value::as_array);
            let internal = all
                .into_iter()
                .flatten()
                .filter(|one| one["type"] == "InternalIP");
            addresses.extend(internal.filter_map(|one| address(&one["address"])));
        }
        addresses.extend(pod_addresses(pod));
        addresses.retain(|ip| {
            self.node_cidrs.is_empty() || self.node_cidrs.iter().any(|range| range.contains(*ip))
        });
        if addresses.is_empty() {
            return Err(refused("has no address that is certified"));
        }
        let identity = Identity {
            role: Role::Agent,
            group: group.as_str().to_owned(),
            name: name.to_owned(),
        };
        Ok(Subject::new(identity, &self.domain, &addresses, &[])?)
    }

    /// A server is called at its pod's addresses, by its Service's names, and by the commands in its container.
    fn server(&self, name: &ObjectName, pod: &Value) -> Option<Result<Subject, Refused>> {
        let mut addresses: Vec<_> = pod_addresses(pod).collect();
        if addresses.is_empty() {
            return None;
        }
        addresses.push(Ipv4Addr::LOCALHOST.into());
        addresses.push(Ipv6Addr::LOCALHOST.into());
        let identity = Identity {
            role: Role::Server,
            group: String::new(),
            name: name.name.clone(),
        };
        let subject = Subject::new(identity, &self.domain, &addresses, &self.server_hosts);
        Some(subject.map_err(Refused::from))
    }
}

fn pod_addresses(pod: &Value) -> impl Iterator<Item = IpAddr> {
    let all = pod.pointer("/status/podIPs").and_then(Value::as_array);
    all.into_iter()
        .flatten()
        .filter_map(|one| address(&one["ip"]))
}

/// One that is a host's, and not every host's.
fn address(value: &Value) -> Option<IpAddr> {
    let ip: IpAddr = value.as_str()?.parse().ok()?;
    let ip = ip.to_canonical();
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let is_a_hosts =
        !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback() && !is_link_local;
    is_a_hosts.then_some(ip)
}

fn text<'a>(value: &'a Value, path: &str) -> Option<&'a str> {
    value.pointer(path)?.as_str()
}
