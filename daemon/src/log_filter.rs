//! What is logged: a level, or levels by target.

use std::{fmt, str::FromStr};

use tracing_subscriber::{EnvFilter, filter::Directive};

/// From nothing to everything.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// `LEVEL`, `TARGET=LEVEL`, or several of them with commas between; the most specific one counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(Box<str>);

/// Why a text is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no level; levels are off, error, warn, info, debug and trace, and a filter is one of them or \
     target=level pairs, for instance info,pi_agent=debug"
)]
pub struct LogFilterError(String);

impl LogFilter {
    /// The filter for a subscriber.
    pub(crate) fn build(&self) -> EnvFilter {
        // The subscriber accepts every level this parser accepts.
        let directives = self.0.split(',').filter_map(|part| part.parse().ok());
        directives.fold(EnvFilter::default(), |filter, directive: Directive| {
            filter.add_directive(directive)
        })
    }
}

impl FromStr for LogFilter {
    type Err = LogFilterError;

    /// Stricter than the subscriber, which reads a misspelt level as the name of a target: nothing would
    /// be logged, without an error.
    fn from_str(text: &str) -> Result<Self, LogFilterError> {
        for part in text.split(',') {
            let (target, level) = match part.split_once('=') {
                Some((target, level)) => (Some(target), level),
                None => (None, part),
            };
            if !target.is_none_or(is_target) || !is_level(level) {
                return Err(LogFilterError(part.to_owned()));
            }
        }
        Ok(Self(text.into()))
    }
}

fn is_level(text: &str) -> bool {
    LEVELS.contains(&text) || LEVELS.iter().any(|level| level.to_uppercase() == text)
}

/// A path of modules.
fn is_target(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_:".contains(&b))
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::filter::Directive;

    use super::LogFilter;

    #[test]
    fn what_is_accepted_is_what_the_subscriber_understands() {
        for text in [
            "info",
            "WARN",
            "off",
            "info,pi_agent=debug",
            "pi_agent::fetch=trace,ERROR",
        ] {
            let filter: LogFilter = text.parse().unwrap();
            assert_eq!(filter.to_string(), text);
            for part in text.split(',') {
                assert!(part.parse::<Directive>().is_ok(), "{part}");
            }
        }
    }

    #[test]
    fn a_misspelt_level_is_none() {
        for text in [
            "",
            "infos",
            "info,",
            "pi_agent",
            "pi_agent=loud",
            "=info",
            "a b=info",
            "3",
        ] {
            let error = text.parse::<LogFilter>().unwrap_err().to_string();
            assert!(
                error.contains("levels are off, error, warn, info"),
                "{error}"
            );
        }
    }
}
