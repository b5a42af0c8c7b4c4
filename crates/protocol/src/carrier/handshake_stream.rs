//! A stream that ends its reading with the blank line of an HTTP head.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How much of a head is looked at in one go. Such heads have some 200 bytes.
const LOOK_BYTES: usize = 1_024;

/// Reads a head and leaves in the kernel what stands behind it: so the stream can be given away, to
/// another process even, and nothing of it is lost. It looks before it takes, because the library
/// that shakes hands holds a peer for an attacker whose bytes come one at a time.
#[derive(Debug)]
pub(super) struct HandshakeStream {
    stream: TcpStream,
    end: BlankLine,
}

/// Finds the blank line in a head that comes in pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum BlankLine {
    #[default]
    InLine,
    AtStartOfLine,
    Found,
}

impl HandshakeStream {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            end: BlankLine::default(),
        }
    }

    pub(super) fn into_inner(self) -> TcpStream {
        self.stream
    }
}

impl AsyncRead for HandshakeStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.end == BlankLine::Found {
            // To the one who shakes hands, the stream ends here.
            return Poll::Ready(Ok(()));
        }
        let mut bytes = [0; LOOK_BYTES];
        let room = LOOK_BYTES.min(into.remaining());
        let mut looked_at = ReadBuf::new(bytes.get_mut(..room).unwrap_or_default());
        ready!(self.stream.poll_peek(context, &mut looked_at))?;
        let (wanted, _) = self.end.after(looked_at.filled());
        let mut taken = ReadBuf::new(bytes.get_mut(..wanted).unwrap_or_default());
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut taken))?;
        let (_, end) = self.end.after(taken.filled());
        self.end = end;
        into.put_slice(taken.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for HandshakeStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl BlankLine {
    /// How many of these bytes belong to the head, and what is known behind them.
    fn after(self, bytes: &[u8]) -> (usize, Self) {
        let mut state = self;
        for (position, byte) in bytes.iter().enumerate() {
            state = match (state, byte) {
                (Self::Found, _) => return (position, state),
                (Self::AtStartOfLine, b'\n') => Self::Found,
                (Self::InLine, b'\n') | (Self::AtStartOfLine, b'\r') => Self::AtStartOfLine,
                (Self::InLine | Self::AtStartOfLine, _) => Self::InLine,
            };
        }
        (bytes.len(), state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_with_its_blank_line_however_it_is_cut() {
        for (head, behind) in [
            ("HTTP/1.1 101 x\r\na: b\r\n\r\n", "\r\n\r\n"),
            ("HTTP/1.1 101 x\na: b\n\n", "\n"),
            ("HTTP/1.1 101 x\r\n\r\n", ""),
        ] {
            let all = format!("{head}{behind}");
            for cut in 0..=all.len() {
                let (first, second) = all.as_bytes().split_at(cut);
                let (in_first, state) = BlankLine::default().after(first);
                let (in_second, state) = state.after(second);
                assert_eq!(
                    (in_first + in_second, state),
                    (head.len(), BlankLine::Found)
                );
            }
        }
        let open = "HTTP/1.1 101 x\r\na: b\r\n";
        let (count, state) = BlankLine::default().after(open.as_bytes());
        assert_eq!((count, state), (open.len(), BlankLine::AtStartOfLine));
    }
}
