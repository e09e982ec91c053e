//! A registry's challenge for a token, which public repositories give to anonymous clients.

use crate::http::encode_query;

/// Where to get a token, and its scope (the distribution project's token specification).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Challenge {
    realm: String,
    service: String,
    scope: String,
}

impl Challenge {
    /// Reads a `WWW-Authenticate` field; `None` where it wants something else than a token.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let (scheme, mut rest) = value.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut challenge = Self::default();
        // Values stand in quotes, and have commas in them.
        while let Some((name, after)) = rest.split_once("=\"") {
            let (value, after) = after.split_once('"')?;
            match name.trim_matches([' ', ',']) {
                "realm" => value.clone_into(&mut challenge.realm),
                "service" => value.clone_into(&mut challenge.service),
                "scope" => value.clone_into(&mut challenge.scope),
                _ => {}
            }
            rest = after;
        }
        let is_url = ["https://", "http://"]
            .iter()
            .any(|scheme| challenge.realm.starts_with(scheme));
        is_url.then_some(challenge)
    }

    /// Where the token is asked for.
    pub(super) fn url(&self) -> String {
        let mut url = self.realm.clone();
        for (name, value) in [("service", &self.service), ("scope", &self.scope)] {
            if !value.is_empty() {
                url.push(if url.contains('?') { '&' } else { '?' });
                url = url + name + "=" + &encode_query(value);
            }
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Challenge;

    #[test]
    fn says_where_a_token_is_had() {
        let challenge = Challenge::parse(
            "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",\
             scope=\"repository:library/redis:pull,push\",error=\"x\"",
        );
        assert_eq!(
            challenge.unwrap().url(),
            "https://auth.docker.io/token?service=registry.docker.io&\
             scope=repository%3Alibrary/redis%3Apull%2Cpush"
        );
        let challenge = Challenge::parse("bearer realm=\"http://a/b?c=d\", service=\"e\"");
        assert_eq!(challenge.unwrap().url(), "http://a/b?c=d&service=e");
        for other in [
            "",
            "Bearer",
            "Basic realm=\"x\"",
            "Bearer realm=\"file:///etc/passwd\"",
            "Bearer realm=\"https://unclosed",
            "Bearer realm=https://bare",
        ] {
            assert_eq!(Challenge::parse(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(value in "(?i)(bearer )?[a-z=\", :/]{0,60}") {
            if let Some(challenge) = Challenge::parse(&value) {
                prop_assert!(challenge.url().starts_with("http"));
            }
        }
    }
}
