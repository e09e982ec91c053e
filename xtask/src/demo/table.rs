//! The demo's figures for the eye.

use super::figures::{Figures, NodeFigures};
use super::screen::megabytes;

pub(super) fn show(figures: &Figures) -> String {
    let mut lines = vec![format!(
        "{:<5} {:<6} {:>9} {:>9} {:>14}   {}",
        "node", "rack", "s without", "s with", "from registry", "from peers"
    )];
    lines.extend(figures.nodes.iter().map(|node| {
        format!(
            "{:<5} {:<6} {:>9.1} {:>9.1} {:>14}   {}",
            node.name,
            node.rack,
            node.seconds_without,
            node.seconds,
            megabytes(node.from_registry),
            peers(node, &figures.nodes)
        )
    }));
    let image = figures.image_bytes;
    for (how, bytes, seconds) in [
        (
            "without Piccolo",
            figures.registry_bytes_without,
            figures.seconds_without,
        ),
        (
            if figures.tls {
                "with it and TLS"
            } else {
                "with Piccolo"
            },
            figures.registry_bytes_with,
            figures.seconds_with,
        ),
    ] {
        lines.push(format!(
            "\n{how:<16} the registry sent {:>9} = {} copies of the image ({}); {seconds:.1} s of \
             pulling",
            megabytes(bytes),
            hundredths(bytes, image),
            megabytes(image)
        ));
    }
    lines.push(format!(
        "\nwith Piccolo, into the rack that got most: {:.2} copies",
        figures.copies_into_rack
    ));
    lines.join("\n")
}

fn hundredths(part: u64, whole: u64) -> String {
    let hundredths = (part * 100).checked_div(whole).unwrap_or_default();
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn peers(node: &NodeFigures, all: &[NodeFigures]) -> String {
    if node.from_peers.is_empty() {
        return "-".to_owned();
    }
    let shown = node.from_peers.iter().map(|(address, bytes)| {
        let peer = all.iter().find(|peer| peer.address == *address);
        format!(
            "{} {}",
            peer.map_or(address.as_str(), |peer| &peer.name),
            megabytes(*bytes)
        )
    });
    shown.collect::<Vec<_>>().join(", ")
}
