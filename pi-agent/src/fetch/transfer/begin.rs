//! The beginning of a fetch: the first peer's head tells the object's size, and by it whether the
//! object is verified in memory or passed on.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    deliver::{Progress, Transfer},
    hash::Hasher,
    open::open,
    parts::Parts,
    small::{self, Unread},
};
use crate::{
    fetch::{
        Fetched, Fetcher, Inner, Place, Want, exchange::accept::Ask, peers::candidates::Candidates,
        settings::Verify,
    },
    http::{ByteRange, Method, Span},
};

/// Asks for the first bytes, by which size and place of the object are known.
pub(crate) async fn begin(
    fetcher: &Fetcher,
    want: &Want,
    range: Option<ByteRange>,
    mut candidates: Candidates,
    place: Place,
) -> Option<Fetched> {
    let inner = &fetcher.0;
    let watch = inner.parts.verdicts.watch(&want.digest).await;
    let hash = must_hash(inner, want, watch.is_some());
    let range = match located(inner, want, range, &mut candidates).await {
        // A digest is of the whole. Who asks for a part is left to the next host.
        Ok(Some((_, total))) if hash && !small::fits(total) => return None,
        Ok(range) => range.map(|(range, _)| range),
        Err(answer) => return answer,
    };
    let mut parts = None;
    let ask = match range {
        Some(ByteRange::From(start)) => {
            let cut = parts.insert(Parts::new(start));
            Ask {
                start,
                end: Some(cut.next(start, &place.flight)),
            }
        }
        Some(ByteRange::Between(first, last)) => Ask {
            start: first,
            end: Some(last.saturating_add(1)),
        },
        Some(ByteRange::Last(_)) | None => Ask::WHOLE,
    };
    let end = Instant::now() + inner.settings.open;
    loop {
        let upstream = open(inner, want, ask, Method::Get, &mut candidates).await?;
        let total = upstream.body.total;
        if small::fits(total) {
            if upstream.body.span == Span::whole(total) {
                match small::receive(inner, want, upstream).await {
                    Ok(small) => return Some(Fetched::Small(small)),
                    Err(Unread::Failed) if Instant::now() < end => continue,
                    Err(Unread::Failed | Unread::NoRoom) => return None,
                }
            }
            candidates.again(upstream.link.holder);
            let small = small::fetch(inner, want, &mut candidates).await;
            return small.map(Fetched::Small);
        }
        let span = match range {
            None => Span::whole(total),
            // The peer that told the size spoke of another one.
            Some(_) if hash => return None,
            Some(range) => range.resolve(total).ok()?,
        };
        let senders = if hash {
            Arc::default()
        } else {
            inner.unjudged.senders(&want.digest)
        };
        let want = Want {
            size: Some(total),
            ..want.clone()
        };
        return Some(Fetched::Large(Box::new(Transfer {
            fetcher: fetcher.clone(),
            hasher: hash.then(|| Hasher::new(&want.digest)),
            watch: watch.filter(|_| !hash),
            senders,
            want,
            span,
            total,
            candidates,
            upstream: Some(upstream),
            parts,
            place,
            progress: Progress::default(),
        })));
    }
}

/// The part that is asked for, in offsets, and the object's size; or the answer, where no part is to
/// be had.
async fn located(
    inner: &Inner,
    want: &Want,
    range: Option<ByteRange>,
    candidates: &mut Candidates,
) -> Result<Option<(ByteRange, u64)>, Option<Fetched>> {
    let Some(range) = range else {
        return Ok(None);
    };
    let total = match want.size {
        Some(total) => total,
        None => ask_size(inner, want, candidates).await.ok_or(None)?,
    };
    match anchor(range, total) {
        None => Err(Some(Fetched::Unsatisfiable(total))),
        Some(range) => Ok(Some((range, total))),
    }
}

/// The size of an object that some peer has.
pub(crate) async fn size(inner: &Inner, want: &Want) -> Option<u64> {
    let mut candidates = Candidates::find(inner, &want.digest).await;
    ask_size(inner, want, &mut candidates).await
}

async fn ask_size(inner: &Inner, want: &Want, candidates: &mut Candidates) -> Option<u64> {
    let upstream = open(inner, want, Ask::WHOLE, Method::Head, candidates).await?;
    let total = upstream.body.total;
    candidates.again(upstream.link.holder);
    if upstream.keep_alive {
        inner.pool.put(upstream.link);
    }
    Some(total)
}

/// Turns "the last n bytes" into offsets; `None` where an object of `total` bytes has no such part.
fn anchor(range: ByteRange, total: u64) -> Option<ByteRange> {
    let span = range.resolve(total).ok()?;
    Some(match range {
        ByteRange::Last(_) => ByteRange::Between(span.start(), span.end() - 1),
        ByteRange::From(_) | ByteRange::Between(..) => range,
    })
}

fn must_hash(inner: &Inner, want: &Want, watched: bool) -> bool {
    match inner.settings.verify {
        Verify::Always => true,
        Verify::Small => false,
        Verify::Auto => !watched || inner.health.is_suspect(&want.digest, Instant::now()),
    }
}
