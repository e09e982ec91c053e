//! Asking a running server.

use std::{fs, net::IpAddr, time::Duration};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use daemon::{
    client::{JsonClient, Reply},
    clock::Clock,
    tls::{Mode, Peer, Role},
};
use http::{Request, header};
use piccolo_api::path;
use serde::Deserialize;

use super::{located, refused};
use crate::config::{Explain, Look, Server};

const DIAL: Duration = Duration::from_secs(2);
const DEADLINE: Duration = Duration::from_secs(10);

/// What a server knows of the paths between racks.
#[derive(Debug, Deserialize)]
pub(super) struct Bandwidth {
    pub(super) racks: Vec<String>,
    pub(super) pairs: Vec<Pair>,
}

/// Rates are in bits per second.
#[derive(Debug, Deserialize)]
pub(super) struct Pair {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) observed: Option<f64>,
    pub(super) estimate: f64,
}

#[derive(Debug, Deserialize)]
struct Located {
    ip: IpAddr,
    rack: String,
    known: bool,
    prefixes: Vec<String>,
}

pub(super) async fn bandwidth(server: &Server) -> Result<Bandwidth> {
    let url = url(server, path::BANDWIDTH);
    let reply = get(server, &url).await?;
    understood(&url, &reply)
}

pub(super) async fn locate(server: &Server, ip: IpAddr) -> Result<String> {
    let url = format!("{}?ip={ip}", url(server, path::LOCATE));
    let reply = get(server, &url).await?;
    let found: Located = understood(&url, &reply)?;
    Ok(located(found.ip, &found.rack, found.known, &found.prefixes))
}

pub(super) async fn explain(explain: &Explain) -> Result<String> {
    let of = if let (Some(key), Some(group)) = (&explain.key, &explain.group) {
        format!("key={}&group={}", escaped(key), escaped(group))
    } else {
        let to: Vec<_> = explain.to.iter().map(IpAddr::to_string).collect();
        format!("to={}", to.join(","))
    };
    let server = &explain.source.server;
    let base = url(server, path::EXPLAIN);
    let url = format!("{base}?request_host={}&{of}&format=text", explain.from);
    text(server, &url).await
}

pub(super) async fn swarm(look: &Look) -> Result<String> {
    let of = format!("key={}&group={}", escaped(&look.key), escaped(&look.group));
    let node = look.node.map(|node| format!("&node={node}"));
    let server = &look.server;
    let base = url(server, path::SWARM);
    let url = format!("{base}?{of}{}&format=text", node.unwrap_or_default());
    text(server, &url).await
}

pub(super) async fn suggest(server: &Server) -> Result<String> {
    text(server, &url(server, path::SUGGEST)).await
}

async fn text(server: &Server, url: &str) -> Result<String> {
    let reply = get(server, url).await?;
    if reply.status.is_success() {
        Ok(String::from_utf8_lossy(&reply.body).into_owned())
    } else {
        refused(url, reply.status, &reply.body)
    }
}

fn understood<T: serde::de::DeserializeOwned>(url: &str, reply: &Reply) -> Result<T> {
    if !reply.status.is_success() {
        refused(url, reply.status, &reply.body)?;
    }
    reply
        .json()
        .with_context(|| format!("{url} does not answer as this server would"))
}

async fn get(server: &Server, url: &str) -> Result<Reply> {
    // In a server's pod the server's own certificate does.
    let settings = server.tls.to_look();
    let tls = settings.load(
        &[Role::Operator, Role::Reader, Role::Server],
        &Clock::system(),
    )?;
    let role = Some(Role::Server);
    let client = JsonClient::of(
        Peer {
            tls,
            role,
            group: None,
        },
        DIAL,
        1,
    );
    // A token is not shown to who hides that the server speaks TLS.
    let needs_tls = server.operator_token_file.is_some() && settings.tls == Mode::Permissive;
    let url = match url.strip_prefix("http://") {
        Some(rest) if needs_tls => format!("https://{rest}"),
        _ => url.to_owned(),
    };
    let mut request = Request::get(url);
    if let Some(file) = &server.operator_token_file {
        let token = fs::read_to_string(file);
        let token = token.with_context(|| format!("{} cannot be read", file.display()))?;
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.trim()));
    }
    let request = request
        .body(Bytes::new())
        .context("the request cannot be made")?;
    let reply = client.send(request, DEADLINE).await;
    reply.context("no server answers (--server names another one)")
}

fn url(server: &Server, path: &str) -> String {
    format!("{}{path}", server.server.trim_end_matches('/'))
}

/// As a value of a query.
fn escaped(text: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/@".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}
