//! Totals for the status, from the counters that Prometheus scrapes: the two cannot differ.

use crate::status::MirrorTotals;

const BYTES: &str = "piccolo_agent_mirror_bytes_total";
const REQUESTS: &str = "piccolo_agent_mirror_requests_total";
const MISSED: &str = "piccolo_agent_missed_bytes_total";
const SERVED: &str = "piccolo_agent_served_bytes_total";

/// Reads the totals out of a scrape.
pub(super) fn read(scrape: &str) -> MirrorTotals {
    let mut totals = MirrorTotals::default();
    for line in scrape.lines() {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let Ok(value) = value.parse::<u64>() else {
            continue;
        };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let has = |label: &str| labels.contains(label);
        match name {
            BYTES if has(r#"source="own""#) => totals.own_bytes = value,
            // Those of crowds have a name that begins alike.
            BYTES if has(r#"source="peer"#) => totals.peer_bytes += value,
            REQUESTS if has(r#"outcome="own""#) => totals.own += value,
            REQUESTS if has(r#"outcome="peer""#) => totals.peer += value,
            REQUESTS if has(r#"outcome="miss""#) => totals.misses += value,
            REQUESTS if has(r#"outcome="private""#) => totals.private += value,
            MISSED => totals.missed_bytes = value,
            SERVED => totals.served_bytes = value,
            _ => {}
        }
    }
    let given = totals.own_bytes.saturating_add(totals.peer_bytes);
    totals.hit_ratio = ratio(given, given.saturating_add(totals.missed_bytes));
    totals
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    let per_mille = (u128::from(part) * 1000).checked_div(u128::from(whole))?;
    Some(f64::from(u32::try_from(per_mille).ok()?) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn reads_what_the_recorder_writes() {
        let totals = read(
            "# TYPE piccolo_agent_mirror_bytes_total counter\n\
             piccolo_agent_mirror_bytes_total{source=\"own\"} 7\n\
             piccolo_agent_mirror_bytes_total{source=\"peer\"} 4\n\
             piccolo_agent_mirror_bytes_total{source=\"peer-growing\"} 5\n\
             piccolo_agent_mirror_requests_total{kind=\"blob\",outcome=\"peer\"} 3\n\
             piccolo_agent_mirror_requests_total{kind=\"manifest\",outcome=\"miss\"} 1\n\
             piccolo_agent_missed_bytes_total 48\n\
             piccolo_agent_served_bytes_total 11\n",
        );
        assert_eq!(
            (totals.own_bytes, totals.peer_bytes, totals.served_bytes),
            (7, 9, 11)
        );
        assert_eq!(
            (totals.peer, totals.misses, totals.hit_ratio),
            (3, 1, Some(0.25))
        );
        assert_eq!(read("").hit_ratio, None);
    }
}
