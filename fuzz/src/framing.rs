//! Where messages begin and end in a stream, cut anywhere: a peer listener and the fetcher, each at the other
//! end of a socket, compared with hyper.
//!
//! What is taken, and where it ends, is the same but for this, which is meant so:
//! - A request in chunks is refused, and after one with a length the connection ends: nothing of the pull part
//!   has a body, and bytes that nobody reads are nobody's next request.
//! - A target that is no URI is answered 404, as any other that names no object; hyper refuses the request.
//! - A reply in chunks, one without a length, and one before the last (1xx) are not taken from a peer: agents
//!   send none, and their connection ends with them.
//! - A reply is taken only if its bytes have the digest that was asked for.

mod replies;
mod requests;

use crate::input::Input;

pub(crate) fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let is_reply = input.flag();
    let cuts = input.take(4);
    if is_reply {
        replies::check(cuts, input.rest());
    } else {
        requests::check(cuts, input.rest());
    }
}
