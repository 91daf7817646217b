//! The body of a request, read as a whole: each has a bound, and so have all that are held at the same time.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use http_body::Body;
use hyper::body::Incoming;

use super::Refused;

/// The bytes of all bodies that are held.
#[derive(Debug)]
pub(super) struct Budget {
    held: Arc<AtomicUsize>,
    most: usize,
}

/// A body's share of the budget, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    held: Arc<AtomicUsize>,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(most: usize) -> Budget {
        Budget { held: Arc::default(), most }
    }

    /// Reads a body, of which at most so many bytes are `kept`, and so many `read` for its sender to come to hearing the answer.
    pub(super) async fn read(&self, mut body: Incoming, kept: usize, read: usize) -> Result<(Bytes, Share), Refused> {
        let too_large = Err(Refused::TooLarge { most: kept });
        if body.size_hint().lower() > read as u64 {
            return too_large;
        }
        let mut share = Share { held: self.held.clone(), bytes: 0 };
        let (mut bytes, mut length) = (BytesMut::new(), 0_usize);
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let Ok(data) = frame.map_err(|_| Refused::Unreadable)?.into_data() else { continue };
            length = length.saturating_add(data.len());
            if length > read {
                break;
            }
            if length <= kept {
                self.take(&mut share, data.len())?;
                bytes.extend_from_slice(&data);
            }
        }
        if length > kept { too_large } else { Ok((bytes.freeze(), share)) }
    }

    fn take(&self, share: &mut Share, more: usize) -> Result<(), Refused> {
        let held = self.held.fetch_add(more, Ordering::Relaxed) + more;
        share.bytes += more;
        if held > self.most { Err(Refused::NoRoom { most: self.most }) } else { Ok(()) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
