//! containerd: its socket, its content and its events.

use std::{fs, io, path::Path};

use daemon::telemetry::chain;

use super::{Check, Verdict};
use crate::{
    config::{ContainerdArgs, Doctor},
    containerd::Containerd,
    content::Access,
    distribution,
    hosts::{config::ContainerdConfig, release::Release},
    status::Status,
};

pub(super) async fn checks(doctor: &Doctor, status: Option<&Status>) -> Vec<Check> {
    let settings = &doctor.containerd;
    let socket = &settings.containerd_socket;
    let client = Containerd::new(socket, &settings.containerd_namespace);
    let containerd = match client {
        Ok(containerd) => containerd,
        Err(error) => {
            let remedy = "correct --containerd-namespace";
            return vec![Check::new(
                "containerd",
                Verdict::Bad,
                error.to_string(),
                remedy,
            )];
        }
    };
    let mut checks = vec![
        answers(&containerd).await,
        content_path(&containerd, settings).await,
    ];
    checks.push(images(&containerd).await);
    let release = Containerd::release(socket).await;
    checks.push(layers(doctor, release, status));
    if let Some(status) = status {
        checks.push(followed(status));
    }
    checks
}

async fn answers(containerd: &Containerd) -> Check {
    let socket = containerd.socket().display();
    match containerd.version().await {
        Ok(version) => Check::good("containerd", format!("{version} answers on {socket}")),
        Err(error) => {
            let elsewhere = distribution::elsewhere(containerd.socket());
            let remedy = match fs::metadata(containerd.socket()) {
                _ if elsewhere.is_some() => elsewhere.unwrap_or_default(),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    "there is no such socket: start containerd, or name the right one with \
                     --containerd-socket (docs/distributions.md has those of the usual distributions)"
                        .to_owned()
                }
                _ => "run as root, or start containerd again (systemctl restart containerd)".to_owned(),
            };
            let found = format!("{socket}: {}", chain(&error));
            Check::new("containerd", Verdict::Bad, found, remedy)
        }
    }
}

async fn content_path(containerd: &Containerd, settings: &ContainerdArgs) -> Check {
    let name = "content store";
    let path = &settings.content_path;
    let says = containerd.content_path().await.ok().flatten();
    let elsewhere = says.as_deref().filter(|says| *says != path.as_path());
    match (readable(path), elsewhere) {
        (Ok(()), None) => Check::good(name, format!("{} is readable", path.display())),
        // A kubelet makes the directory that a volume names, also where the name is wrong.
        (Ok(()), Some(says)) if !path.join("blobs").exists() => Check::new(
            name,
            Verdict::Warning,
            format!(
                "{} has no blobs; containerd's is {}",
                path.display(),
                says.display()
            ),
            format!("give --content-path {}", says.display()),
        ),
        // In a container the same directory may be mounted elsewhere.
        (Ok(()), Some(says)) => Check::good(
            name,
            format!(
                "{} is readable; containerd calls it {}",
                path.display(),
                says.display()
            ),
        ),
        (Err(error), Some(says)) => Check::new(
            name,
            Verdict::Warning,
            format!(
                "{}: {error}; containerd's is {}",
                path.display(),
                says.display()
            ),
            format!("give --content-path {}", says.display()),
        ),
        (Err(error), None) => Check::new(
            name,
            Verdict::Warning,
            format!(
                "{}: {error}; content goes over gRPC, which costs CPU",
                path.display()
            ),
            "let the agent read the directory (run it as root, mount it into its container), or \
             name the right one with --content-path",
        ),
    }
}

fn readable(path: &Path) -> io::Result<()> {
    fs::metadata(path)?;
    match fs::read_dir(path.join("blobs/sha256")) {
        // There is none before the first blob.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map(drop),
    }
}

async fn images(containerd: &Containerd) -> Check {
    let mut found = Vec::new();
    for namespace in containerd.namespaces() {
        let Ok(images) = containerd.images(namespace).await else {
            continue;
        };
        found.push((namespace.as_str(), images.len()));
    }
    if found.is_empty() {
        return Check::new(
            "images",
            Verdict::Warning,
            "containerd does not tell them",
            "see containerd above",
        );
    }
    let text: Vec<_> = found
        .iter()
        .map(|(name, count)| format!("{count} in {name}"))
        .collect();
    if found.iter().any(|(_, count)| *count > 0) {
        return Check::good("images", text.join(", "));
    }
    Check::new(
        "images",
        Verdict::Warning,
        format!("none ({})", text.join(", ")),
        "normal on a new node; otherwise name the namespace of the images with \
         --containerd-namespace (Kubernetes uses k8s.io)",
    )
}

/// Whether layers stay after unpacking, by what the agent sees and by containerd's configuration.
fn layers(doctor: &Doctor, release: Option<Release>, status: Option<&Status>) -> Check {
    let content = status.map(|status| &status.content);
    let without = content.map_or(0, |content| content.images_without_layers);
    let seen = content.is_some_and(|content| content.layers_discarded);
    let file = &doctor.containerd_config;
    let set = ContainerdConfig::load(file).is_ok_and(|config| config.pulls.discards(release));
    let found = match (seen, set) {
        (true, _) => format!("{without} images have none here: the node has nothing for its peers"),
        (false, true) => format!(
            "{} has containerd discard them after unpacking: the node has nothing for its peers",
            file.display()
        ),
        (false, false) => {
            let found = format!("kept; {without} images have none");
            return Check::good("layers", found);
        }
    };
    Check::new(
        "layers",
        Verdict::Warning,
        found,
        "set discard_unpacked_layers = false where your distribution has it (docs/distributions.md), \
         and restart containerd; images that are here stay without layers until they are pulled anew",
    )
}

fn followed(status: &Status) -> Check {
    let content = &status.content;
    let found = format!(
        "{} images, {} blobs, {} shared; {:?}",
        content.images, content.blobs, content.shared_objects, content.access
    );
    match (content.containerd_connected, content.access) {
        (true, Access::Inotify) => Check::good("followed", found),
        (true, Access::Polling) => Check::new(
            "followed",
            Verdict::Warning,
            found,
            "inotify is not available: raise fs.inotify.max_user_instances and max_user_watches",
        ),
        (true, Access::Grpc | Access::Nothing) => Check::new(
            "followed",
            Verdict::Warning,
            found,
            "see content store above",
        ),
        (false, _) => {
            let error = content.containerd_error.clone().unwrap_or_default();
            let found = format!("{found}; away: {error}");
            Check::new("followed", Verdict::Bad, found, "see containerd above")
        }
    }
}
