//! What people write, and what it is taken for.

use super::*;

#[test]
fn rates_as_people_write_them() {
    for (text, bits) in [
        ("25Gbit", 25e9),
        ("25 Gbit", 25e9),
        ("25gbit", 25e9),
        ("100Gbps", 100e9),
        ("100 Gbit/s", 100e9),
        ("2.5Gb/s", 2.5e9),
        ("1Tbit", 1e12),
        ("25G", 25e9),
        ("800Mbit", 800e6),
        ("64kbit", 64e3),
        ("125MB/s", 1e9),
        ("1MiB/s", 8_388_608.0),
        ("1GBps", 8e9),
        ("5000bit/s", 5e3),
    ] {
        assert_eq!(rate(text).map(Rate::bits_per_second), Ok(bits), "{text}");
    }
}

#[test]
fn what_is_no_rate_says_how_to_write_it() {
    for (text, message) in [
        (
            "25",
            "a number without a unit, where a rate belongs; did you mean `25Gbit`?",
        ),
        (
            "0Gbit",
            "a link that carries nothing; to close a path, write `forbidden: true` in an entry of `links`",
        ),
        (
            "25GB",
            "an amount of bytes, where a rate belongs; write `25Gbit` for bits or `25GB/s` for bytes per second",
        ),
        (
            "25Tbit",
            "no sensible value: it has to lie between 1kbit and 10Tbit; look at the unit and the zeros",
        ),
        (
            "10m",
            "`m` is no unit of a rate; write one of `kbit`, `Mbit`, `Gbit`, `Tbit`, `Gbps`, `Gbit/s`, `MB/s`, `MiB/s`",
        ),
        ("fast", "not a rate; write for instance `25Gbit`"),
        ("-1Gbit", "not a rate; write for instance `25Gbit`"),
        ("1.2.3Gbit", "not a rate; write for instance `25Gbit`"),
        ("", "not a rate; write for instance `25Gbit`"),
    ] {
        let problem = rate(text).expect_err(text);
        assert_eq!(format!("{problem}; {}", problem.mend()), message, "{text}");
    }
}

#[test]
fn times_as_people_write_them() {
    let parse = |text| duration(text, Duration::from_secs(1), Duration::from_hours(24));
    for (text, seconds) in [
        ("10m", Some(600.0)),
        ("90s", Some(90.0)),
        ("1h30m", Some(5400.0)),
        ("1h 30m", Some(5400.0)),
        ("1.5s", Some(1.5)),
        ("1500ms", Some(1.5)),
        ("1d", Some(86400.0)),
        ("10", None),
        ("10 parsecs", None),
        ("2d", None),
        ("m", None),
        ("", None),
    ] {
        assert_eq!(
            parse(text).ok().map(|time| time.as_secs_f64()),
            seconds,
            "{text}"
        );
    }
}

#[test]
fn amounts_of_bytes_as_people_write_them() {
    for (text, bytes) in [
        ("1MiB", Some(1 << 20)),
        ("64KiB", Some(65536)),
        ("1 MB", Some(1_000_000)),
        ("2000B", Some(2000)),
        ("1MBit", None),
        ("1", None),
        ("1B", None),
    ] {
        assert_eq!(size(text, 1024, 1 << 40).ok(), bytes, "{text}");
    }
}
