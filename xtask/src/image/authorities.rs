//! The certificate authorities in an image: Mozilla's, at Debian's path.
//!
//! Operators with a bundle of their own mount it over this one.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

/// The package that has them, for the bill of materials.
pub(super) const PACKAGE: &str = "webpki-root-certs";

/// Where they are looked for.
pub(super) const FILE: &str = "etc/ssl/certs/ca-certificates.crt";

/// The line length of RFC 7468.
const LINE: usize = 64;

/// All of them, as PEM.
pub(super) fn pem() -> String {
    let mut text = String::new();
    for certificate in TLS_SERVER_ROOT_CERTS {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut rest = &*STANDARD.encode(certificate);
        while !rest.is_empty() {
            // Base64 is ASCII: every place is between two characters.
            let (line, after) = rest.split_at(rest.len().min(LINE));
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::pem;

    #[test]
    fn every_authority_is_there_in_short_lines() {
        let pem = pem();
        let begun = pem.matches("-----BEGIN CERTIFICATE-----\nMII").count();
        assert!(begun > 100, "{begun}");
        assert_eq!(pem.matches("-----END CERTIFICATE-----\n").count(), begun);
        assert!(pem.lines().all(|line| line.len() <= 64));
    }
}
