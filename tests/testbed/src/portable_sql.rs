//! Which SQL all databases know that the server may run over: MySQL 8.0, 8.4 and 9.7, MariaDB 10.6 to
//! 11.8.
//!
//! Everything that is not on the lists is refused: before using something new, look it up in the
//! manuals of all of them and add it.

mod words;

use anyhow::{Result, bail, ensure};

use self::words::{FUNCTIONS, KNOWN_WORDS, NAMES, NOT_COMMON, VARIABLES};

/// A part of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// A keyword, or the name of something.
    Word(String),
    /// `@@name`.
    Variable(String),
    /// A number or a text.
    Value,
    Sign(char),
}

/// Wants a statement, or several, to have nothing in it that one of the databases does not know.
///
/// # Errors
///
/// With the first thing that is not on the lists.
pub fn check(sql: &str) -> Result<()> {
    let tokens = tokens(sql)?;
    for (place, token) in tokens.iter().enumerate() {
        let next = tokens.get(place + 1);
        match token {
            Token::Word(word) => check_word(word, next, sql)?,
            Token::Variable(name) => ensure!(
                VARIABLES.contains(&name.as_str()),
                "@@{name} is on no list of variables that all databases have: {sql}"
            ),
            Token::Value | Token::Sign(_) => {}
        }
    }
    check_order(&tokens, sql)
}

fn check_word(word: &str, next: Option<&Token>, sql: &str) -> Result<()> {
    let upper = word.to_ascii_uppercase();
    if let Some((_, why)) = NOT_COMMON.iter().find(|(name, _)| *name == upper) {
        bail!("{upper} is not in all databases ({why}): {sql}");
    }
    let is_known = |list: &[(&str, &[&str])]| {
        let mut words = list.iter().flat_map(|(_, words)| words.iter());
        words.any(|known| *known == upper)
    };
    // A name stands before a bracket, too, where columns are listed; functions are in capitals.
    let is_call = next == Some(&Token::Sign('(')) && word == upper;
    if is_call && !is_known(KNOWN_WORDS) {
        ensure!(
            is_known(FUNCTIONS),
            "{upper}() is on no list of functions that all databases have: {sql}"
        );
        return Ok(());
    }
    ensure!(
        is_known(KNOWN_WORDS) || VARIABLES.contains(&word) || NAMES.contains(&word),
        "{word} is on no list of words that all databases have: {sql}"
    );
    Ok(())
}

/// What the words do not tell.
fn check_order(tokens: &[Token], sql: &str) -> Result<()> {
    let is = |token: Option<&Token>, wanted: &str| match token {
        Some(Token::Word(word)) => word.eq_ignore_ascii_case(wanted),
        _ => false,
    };
    let mut in_values = false;
    let mut group_concat = None;
    let mut depth = 0_usize;
    for (place, token) in tokens.iter().enumerate() {
        match token {
            Token::Sign('(') => {
                let before = place.checked_sub(1).and_then(|before| tokens.get(before));
                if is(before, "GROUP_CONCAT") {
                    group_concat = Some(depth);
                }
                depth += 1;
            }
            Token::Sign(')') => {
                depth = depth.saturating_sub(1);
                if group_concat == Some(depth) {
                    group_concat = None;
                }
            }
            Token::Word(word) if word.eq_ignore_ascii_case("LIMIT") => ensure!(
                group_concat.is_none(),
                "GROUP_CONCAT(... LIMIT) is MariaDB's: {sql}"
            ),
            Token::Word(word) if word.eq_ignore_ascii_case("VALUES") => {
                in_values = depth == 0;
            }
            Token::Word(word) if word.eq_ignore_ascii_case("AS") => ensure!(
                !in_values || depth > 0,
                "a name for the rows of VALUES is MySQL's: {sql}"
            ),
            Token::Word(word) if word.eq_ignore_ascii_case("DUPLICATE") => in_values = false,
            _ => {}
        }
    }
    Ok(())
}

fn tokens(sql: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            c if c.is_whitespace() => (None, c.len_utf8()),
            '-' if rest.starts_with("--") => (None, rest.find('\n').unwrap_or(rest.len())),
            '#' => bail!("a comment by # ends up in no list: {sql}"),
            '\'' => (Some(Token::Value), text_length(rest, sql)?),
            '`' | '"' => bail!("{first} quotes one thing here and another there: {sql}"),
            '0'..='9' => (Some(Token::Value), word_length(rest)),
            '@' => {
                let name = rest.strip_prefix("@@");
                let Some(name) = name else {
                    bail!("a variable of a user's own is on no list: {sql}");
                };
                let length = word_length(name);
                let name = name.get(..length).unwrap_or_default();
                (Some(Token::Variable(name.to_owned())), length + 2)
            }
            // Bytes as digits.
            'x' if rest.starts_with("x'") => (Some(Token::Value), text_length(rest, sql)?),
            c if c.is_ascii_alphabetic() || c == '_' => {
                let length = word_length(rest);
                let word = rest.get(..length).unwrap_or_default();
                (Some(Token::Word(word.to_owned())), length)
            }
            '(' | ')' | ',' | '.' | '=' | '<' | '>' | '?' | '*' | '+' | '-' | ';' => {
                (Some(Token::Sign(first)), 1)
            }
            other => {
                bail!("{other:?} is on no list of signs that mean one thing everywhere: {sql}")
            }
        };
        tokens.extend(token);
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(tokens)
}

fn word_length(text: &str) -> usize {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.find(|c| !is_of_word(c)).unwrap_or(text.len())
}

/// Of a text in quotes, with whatever stands before them.
fn text_length(rest: &str, sql: &str) -> Result<usize> {
    let mut quotes = rest.match_indices('\'').map(|(at, _)| at + 1);
    match (quotes.next(), quotes.next()) {
        (Some(_), Some(end)) => Ok(end),
        _ => bail!("a text has no end: {sql}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_that_no_database_keeps_for_itself() {
        for name in NAMES {
            let upper = name.to_ascii_uppercase();
            assert!(!words::RESERVED.contains(&upper.as_str()), "{name}");
        }
    }

    #[test]
    fn what_one_of_them_does_not_know_is_refused() {
        for (sql, says) in [
            ("SELECT MD5(DATABASE())", "MD5 is not in all databases"),
            ("SELECT holder FROM seq_1_to_9", "seq_1_to_9 is on no list"),
            (
                "INSERT INTO node (space) VALUES (?) RETURNING space",
                "RETURNING",
            ),
            ("SELECT ANY_VALUE(holder) FROM node", "ANY_VALUE"),
            (
                "SELECT INET6_ATON(holder) FROM node",
                "INET6_ATON() is on no list of functions",
            ),
            (
                "SELECT GROUP_CONCAT(holder LIMIT 1) FROM node",
                "is MariaDB's",
            ),
            (
                "INSERT INTO node (space) VALUES (?) AS page ON DUPLICATE KEY UPDATE space = page.space",
                "is MySQL's",
            ),
            ("SELECT @@version_comment", "variables"),
            ("SELECT a || b FROM node", "'|' is on no list"),
            ("SELECT \"a\"", "quotes one thing here"),
            ("SELECT 'a", "has no end"),
        ] {
            let refused = check(sql).expect_err(sql).to_string();
            assert!(refused.contains(says), "{sql}: {refused}");
        }
        let fine = "INSERT IGNORE INTO node (space, holder) VALUES (?,x'00'),(1,'a') \
            ON DUPLICATE KEY UPDATE seen = VALUES(seen)";
        check(fine).expect("all know it");
    }
}
