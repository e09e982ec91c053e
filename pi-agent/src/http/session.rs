//! A connection of a client with one of the listeners, from request to request.

use std::time::Duration;

use daemon::scope::Scope;
use tokio::{net::TcpStream, time::timeout};

use super::{Connection, HeadError, Inbox, Request};

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) stream: TcpStream,
    inbox: Inbox,
}

/// What comes next on a connection.
#[derive(Debug)]
pub(crate) enum Next {
    /// A request, and the length of its head.
    Request(Request, usize),
    /// Something else, after which nothing can be understood, and how many bytes of it were read.
    Invalid(usize),
    /// Nothing more.
    End,
}

impl Session {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            inbox: Inbox::default(),
        }
    }

    /// Waits up to `idle` for the next request, ending early when the scope drains, and up to
    /// `head` for the rest of it.
    pub(crate) async fn next(&mut self, idle: Duration, head: Duration, scope: &Scope) -> Next {
        if self.inbox.len() == 0 {
            let begun = tokio::select! {
                biased;
                () = scope.draining() => false,
                begun = self.inbox.begin(&self.stream) => begun,
                () = tokio::time::sleep(idle) => false,
            };
            if !begun {
                return Next::End;
            }
        }
        match timeout(head, self.inbox.head(&self.stream, Request::parse)).await {
            Ok(Ok((request, length))) => Next::Request(request, length),
            Ok(Err(HeadError::Parse(_) | HeadError::TooLong)) => Next::Invalid(self.inbox.len()),
            Ok(Err(HeadError::Closed | HeadError::Cut | HeadError::Read(_))) | Err(_) => Next::End,
        }
    }
}

impl Request {
    /// Whether the connection outlives this request. One with a body does not: nothing here reads
    /// bodies.
    pub(crate) fn connection(&self, scope: &Scope) -> Connection {
        if self.keep_alive && self.body == 0 && !scope.is_draining() {
            Connection::KeepAlive
        } else {
            Connection::Close
        }
    }
}
