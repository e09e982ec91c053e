//! The ranges of requests and replies, compared with arithmetic that cannot overflow.

use pi_agent::http::{ByteRange, ContentRange, Span};

use crate::input::Input;

pub(crate) fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (size, first, last) = (input.wide(), input.wide(), input.wide());
    let space = input.one(&["", " ", "\t"]);
    let number = |number: u64| i128::from(number);
    let all = number(size);
    // The bytes from the first to the one after the last.
    let expected = [
        (format!("{first}-"), number(first), all),
        (
            format!("{first}{space}-{space}{last}"),
            number(first),
            all.min(number(last) + 1),
        ),
        (format!("-{last}"), (all - number(last)).max(0), all),
    ];
    for (text, start, end) in expected {
        let unit = input.one(&["bytes=", "Bytes=", " bytes ="]);
        let text = format!("{unit}{text}");
        let range = ByteRange::parse(&text);
        let is_turned = range.is_none() && first > last;
        assert!(range.is_some() || is_turned, "{text}");
        let Some(range) = range else { continue };
        match range.resolve(size) {
            Ok(span) => assert_eq!(
                (number(span.start()), number(span.end())),
                (start, end),
                "{text} of {size}"
            ),
            Err(_) => assert!(start >= end, "{text} of {size}"),
        }
    }
    let text = format!("bytes {first}-{last}/{size}");
    let is_range = first <= last && last < size;
    assert_eq!(ContentRange::parse(&text).is_some(), is_range, "{text}");
    anything(&input.text(), size);
}

/// Whatever is read lies within the object, and is written as it is read.
fn anything(text: &str, size: u64) {
    if let Some(range) = ContentRange::parse(text) {
        assert!(range.span.start() < range.span.end() && range.span.end() <= range.total);
        assert_eq!(
            ContentRange::parse(&range.to_string()),
            Some(range),
            "{text:?}"
        );
    }
    let Some(range) = ByteRange::parse(text) else {
        return;
    };
    let Ok(span) = range.resolve(size) else {
        return;
    };
    assert!(
        span.start() < span.end() && span.end() <= size,
        "{text:?} of {size}"
    );
    assert_eq!(span.len(), span.end() - span.start());
    for offset in [0, span.start(), span.end(), u64::MAX] {
        let rest = span.from(offset);
        assert!(rest.start() >= span.start() && rest.end() == span.end());
    }
    let bytes = [0; 64];
    let slice = span.of(&bytes);
    assert_eq!(slice.is_some(), span.end() <= 64);
    assert_eq!(
        Span::whole(size).from(span.start()),
        Span::new(span.start(), size)
    );
}
