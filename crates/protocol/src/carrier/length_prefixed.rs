//! Unix and TCP sockets.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};

use super::queue::{self, Inbox, Outgoing, Queue, Work};
use super::{Incoming, READ_BYTES, io_reason};
use crate::close::CloseReason;
use crate::framing::length_prefixed::{Decoder, encode};

/// Starts to pump a connected stream, whichever side dialled. Needs a tokio runtime.
pub fn start<Stream>(stream: Stream, inbox: Inbox) -> Outgoing
where
    Stream: AsyncRead + AsyncWrite + Send + 'static,
{
    let (reader, writer) = split(stream);
    let queue = Queue::new(inbox.connection);
    let outgoing = queue.outgoing();
    queue::run(
        inbox.clone(),
        Arc::clone(&queue),
        read(reader, inbox),
        write(writer, queue),
    );
    outgoing
}

async fn read(mut reader: impl AsyncRead + Unpin, inbox: Inbox) -> CloseReason {
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let received = match reader.read(&mut buffer).await {
            Ok(0) if decoder.is_inside_message() => return CloseReason::HalfMessage,
            Ok(0) => return CloseReason::ByPeer,
            Ok(count) => buffer.get(..count).unwrap_or_default(),
            Err(error) => return io_reason(&error),
        };
        let outcome = decoder.feed(received);
        while let Some(text) = decoder.next_text() {
            if !inbox.deliver(Incoming::Text(text)).await {
                return CloseReason::ByUs;
            }
        }
        if let Err(error) = outcome {
            return CloseReason::Framing(error);
        }
    }
}

async fn write(mut writer: impl AsyncWrite + Unpin, queue: Arc<Queue>) -> CloseReason {
    loop {
        match queue.next().await {
            Work::Write(mut texts) => {
                let bytes = texts.iter().map(String::len).sum();
                while let Some(message) = encode(&mut texts) {
                    if let Err(error) = writer.write_all(&message).await {
                        return io_reason(&error);
                    }
                }
                if let Err(error) = writer.flush().await {
                    return io_reason(&error);
                }
                queue.written(bytes);
            }
            Work::Finish(reason) => {
                // The peer may have gone first; there is nobody to tell.
                drop(writer.shutdown().await);
                return reason;
            }
        }
    }
}
