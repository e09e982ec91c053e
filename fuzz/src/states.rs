//! The fields by which agents tell each other how far they are: what is understood is what the last of each
//! name says, and what is not is as if it were not there.

use std::net::SocketAddr;

use pi_agent::http::{Request, Response};
use piccolo_api::Holder;

use crate::{
    input::Input,
    model::head::{Head, number},
};

const NAMES: [&str; 11] = [
    "Piccolo-State",
    "Piccolo-Reached",
    "Piccolo-Silent-Ms",
    "Piccolo-Chunks",
    "Piccolo-Stripes",
    "Piccolo-Maker",
    "Piccolo-Alternates",
    "Piccolo-Agent",
    "X-Spegel-Mirrored",
    "piccolo-STATE",
    "Content-Length",
];
const CHUNKS: &str = "blake3-1048576";

pub(crate) fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut fields = Vec::new();
    while !input.is_empty() {
        let name = input.one(&NAMES);
        let length = usize::from(input.byte() % 80);
        fields.extend_from_slice(name.as_bytes());
        fields.extend_from_slice(b": ");
        fields.extend(
            input
                .take(length)
                .iter()
                .filter(|byte| !b"\r\n".contains(byte)),
        );
        fields.extend_from_slice(b"\r\n");
    }
    fields.extend_from_slice(b"\r\n");
    response(&[b"HTTP/1.1 206 Partial Content\r\n", &*fields].concat());
    request(&[b"GET /v2/ HTTP/1.1\r\n", &*fields].concat());
}

fn response(bytes: &[u8]) {
    let Ok(Some((response, _))) = Response::parse(bytes) else {
        return;
    };
    let head = Head::of(bytes);
    let state = head.last("piccolo-state").unwrap_or_default();
    assert_eq!(response.growing, state.eq_ignore_ascii_case("growing"));
    assert_eq!(response.withheld, state.eq_ignore_ascii_case("withheld"));
    let reached = head
        .last("piccolo-reached")
        .and_then(|value| number(value.as_bytes()));
    assert_eq!(response.reached, reached);
    assert_eq!(response.chunks, has(&head, CHUNKS));
    assert_eq!(response.every, stripes(&head));
    let maker = head.last("piccolo-maker").and_then(node);
    assert_eq!(response.maker.map(|maker| maker.addr()), maker);
    let named = head
        .last("piccolo-alternates")
        .unwrap_or_default()
        .split(',');
    let named: Vec<_> = named.filter_map(|name| node(name.trim())).take(8).collect();
    let alternates = response.alternates.iter().map(Holder::addr);
    assert_eq!(alternates.collect::<Vec<_>>(), named);
}

fn request(bytes: &[u8]) {
    let Ok(Some((request, _))) = Request::parse(bytes) else {
        return;
    };
    let head = Head::of(bytes);
    let mirrored = head.last("x-spegel-mirrored").unwrap_or_default();
    assert_eq!(request.mirrored, mirrored.eq_ignore_ascii_case("true"));
    assert_eq!(request.chunks, has(&head, CHUNKS));
    assert_eq!(request.complete, has(&head, "complete"));
    assert_eq!(request.every, stripes(&head));
    let agent = head.last("piccolo-agent").and_then(node);
    assert_eq!(request.agent.map(|agent| agent.addr()), agent);
}

fn has(head: &Head<'_>, token: &str) -> bool {
    let said = head.last("piccolo-chunks").unwrap_or_default();
    said.split(',')
        .any(|one| one.trim_matches([' ', '\t']).eq_ignore_ascii_case(token))
}

fn stripes(head: &Head<'_>) -> u64 {
    let said = head
        .last("piccolo-stripes")
        .and_then(|value| number(value.as_bytes()));
    said.filter(|stripes| (1..=64).contains(stripes))
        .unwrap_or(1)
}

/// An address at which a node can be reached, IPv4 as IPv4.
fn node(text: &str) -> Option<SocketAddr> {
    let address: SocketAddr = text.parse().ok()?;
    let ip = address.ip().to_canonical();
    let is_one = address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast();
    is_one.then(|| SocketAddr::new(ip, address.port()))
}
