//! The schema's patterns take what the reader takes.

use super::*;
use crate::file::network::cidr;
use crate::file::{names, units};
use regex::Regex;

fn check(pattern: &str, examples: &[&str], reads: impl Fn(&str) -> bool) {
    let pattern = Regex::new(pattern).expect("a pattern");
    for example in examples {
        assert_eq!(pattern.is_match(example), reads(example), "{example:?}");
    }
}

#[test]
fn patterns_agree_with_the_reader() {
    let rates = [
        "25Gbit",
        "25 Gbit",
        "2.5Gbps",
        "100Gbit/s",
        "25G",
        "1M",
        "10Gbits",
        "10Gbits/s",
        "125MB/s",
        "1MiB/s",
        "1GBps",
        "5000bit/s",
        "8000b/s",
        "64kbit",
        "10Mbytes/s",
        "25",
        "25GB",
        "10m",
        "fast",
        "",
        "-1Gbit",
        "1.Gbit",
        ".5Gbit",
        "25 gigabit",
        "10Gbit/h",
        "25g",
        "10Bit",
    ];
    check(RATE, &rates, |text| units::rate(text).is_ok());
    let (none, ever) = (std::time::Duration::ZERO, std::time::Duration::MAX);
    let times = [
        "10m", "1h30m", "1h 30m", "1.5s", "90 s", "500ms", "1d", "10", "m", "", "1y", "1m30",
    ];
    check(DURATION, &times, |text| {
        units::duration(text, none, ever).is_ok()
    });
    let sizes = [
        "1MiB", "64KiB", "1 MB", "2000B", "1kB", "1MBit", "1", "B", "1M",
    ];
    check(SIZE, &sizes, |text| units::size(text, 0, u64::MAX).is_ok());
    let names = [
        "r1",
        "rack-7.a_b",
        "7",
        "-r",
        "r/1",
        "",
        "r 1",
        &"x".repeat(63),
        &"x".repeat(64),
    ];
    check(names::PATTERN, &names, names::is_name);
    let cidrs = [
        "10.0.1.0/24",
        "2001:db8::/32",
        "10.0.1.0",
        "10.0.0.0/255.0.0.0",
        "rack",
        "/24",
    ];
    check(CIDR, &cidrs, |text| cidr(text).is_ok());
}

#[test]
fn every_default_can_be_read() {
    fn walk(section: &Section, seen: &mut usize) {
        for key in section.keys {
            if let Shape::Section(inner) = &key.shape {
                walk(inner, seen);
            }
            let Need::Default(default) = key.need else {
                continue;
            };
            let sound = match &key.shape {
                Shape::Rate => units::rate(default).is_ok() || default.contains(' '),
                Shape::Duration { least, most } => units::duration(default, *least, *most).is_ok(),
                Shape::Size { least, most } => units::size(default, *least, *most).is_ok(),
                Shape::Number { least, most } => units::number(default, *least, *most).is_ok(),
                Shape::Bits { least, most } => default
                    .parse::<u8>()
                    .is_ok_and(|bits| (*least..=*most).contains(&bits)),
                _ => continue,
            };
            assert!(sound, "{}: {default}", key.name);
            *seen += 1;
        }
    }
    let mut seen = 0;
    walk(&FILE, &mut seen);
    assert!(seen >= 15, "{seen}");
}
