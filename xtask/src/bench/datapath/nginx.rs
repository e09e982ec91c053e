//! nginx with one worker: the files of a content store, or a proxy of that.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use testbed::{Certificate, Host, Process, Run};

const PROGRAM: &str = "/usr/sbin/nginx";
/// Which agents prefer.
const CIPHER: &str = "TLS_AES_128_GCM_SHA256";

/// Serves the blobs under the paths of the distribution protocol, by sendfile.
///
/// With TLS where there is a certificate, by the cipher that agents prefer.
pub(super) fn files(
    run: &Run,
    host: &Host,
    listen: SocketAddr,
    blobs: &Path,
    own: Option<&Certificate>,
) -> Result<Process> {
    let location = format!(
        "location ~ ^/v2/.*/(?:blobs|manifests)/sha256:([0-9a-f]+)$ {{ alias {}/sha256/$1; }}",
        blobs.display()
    );
    let Some(own) = own else {
        return start(run, host, "nginx-files", &listen.to_string(), "", &location);
    };
    let location = format!(
        "ssl_certificate {}; ssl_certificate_key {};
        ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites {CIPHER};
        ssl_session_tickets off;
        {location}",
        own.certificate.display(),
        own.key.display()
    );
    let listen = format!("{listen} ssl");
    start(run, host, "nginx-files-tls", &listen, "", &location)
}

/// Passes everything on.
pub(super) fn proxy(
    run: &Run,
    host: &Host,
    listen: SocketAddr,
    upstream: SocketAddr,
    authority: Option<&Path>,
) -> Result<Process> {
    let (name, scheme, tls) = match authority {
        None => ("nginx-proxy", "http", String::new()),
        Some(authority) => {
            let tls = format!(
                "proxy_ssl_verify on; proxy_ssl_trusted_certificate {};
        proxy_ssl_name {}; proxy_ssl_protocols TLSv1.3;
        proxy_ssl_conf_command Ciphersuites {CIPHER};",
                authority.display(),
                upstream.ip()
            );
            ("nginx-proxy-tls", "https", tls)
        }
    };
    let location = format!(
        "location / {{
        proxy_pass {scheme}://holder;
        {tls}
        proxy_http_version 1.1;
        proxy_set_header Connection \"\";
        proxy_buffers 8 256k;
        proxy_buffer_size 256k;
        proxy_busy_buffers_size 512k;
        proxy_max_temp_file_size 0;
    }}"
    );
    let upstream = format!("upstream holder {{ server {upstream}; keepalive 64; }}");
    start(run, host, name, &listen.to_string(), &upstream, &location)
}

fn start(
    run: &Run,
    host: &Host,
    name: &str,
    listen: &str,
    upstream: &str,
    location: &str,
) -> Result<Process> {
    let directory = run.make_directory(name)?;
    let text = format!(
        "worker_processes 1;
user root;
daemon off;
pid {directory}/pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    {upstream}
    server {{ listen {listen}; {location} }}
}}
",
        directory = directory.display()
    );
    let config = directory.join("nginx.conf");
    fs::write(&config, text).context("writing nginx's settings")?;
    let arguments = ["-c".as_ref(), config.as_os_str()];
    Process::start(run, &host.netns, name, Path::new(PROGRAM), arguments)
}
