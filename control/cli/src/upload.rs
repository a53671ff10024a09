//! A file as the body of a request, sent while it is read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::mpsc;

use crate::failed::Failed;

/// Bytes that are read and sent at once.
const PIECE: usize = 256 << 10;
/// Pieces that may wait to be sent.
const PIECES: usize = 4;

/// What a thread reads.
#[derive(Debug)]
pub(crate) struct Upload {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    failure: Failure,
}

/// Why reading failed, for whoever sent the request.
pub(crate) type Failure = Arc<Mutex<Option<io::Error>>>;

impl Upload {
    /// Begins to read a file; `-` is standard input.
    pub(crate) fn open(path: &Path) -> Result<Upload, Failed> {
        let failed = |source| Failed::Read { path: path.into(), source };
        let source: Box<dyn Read + Send> = match path.to_str() {
            Some("-") => Box::new(io::stdin()),
            _ => Box::new(File::open(path).map_err(failed)?),
        };
        let (sender, pieces) = mpsc::channel(PIECES);
        let reader = std::thread::Builder::new().name("reader".into());
        reader.spawn(move || read(source, &sender)).map_err(failed)?;
        Ok(Upload { pieces, failure: Failure::default() })
    }

    /// Where it is said why reading failed.
    pub(crate) fn failure(&self) -> Failure {
        self.failure.clone()
    }
}

fn read(mut source: impl Read, pieces: &mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let (piece, last) = match source.by_ref().take(PIECE as u64).read_to_end(&mut piece) {
            Ok(0) => return,
            Ok(_) => (Ok(piece.into()), false),
            Err(error) => (Err(error), true),
        };
        // Nobody takes what the control process does not want to hear.
        if pieces.blocking_send(piece).is_err() || last {
            return;
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.pieces.poll_recv(context).map(|piece| {
            Some(piece?.map(Frame::data).map_err(|error| {
                let short = error.kind().into();
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                short
            }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_in_pieces() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let text: Vec<u8> = (0..3 * PIECE + 7).map(|i| i as u8).collect();
        io::Write::write_all(&mut file, &text).unwrap();
        let mut upload = Upload::open(file.path()).unwrap();
        let mut read = Vec::new();
        while let Some(piece) = upload.pieces.blocking_recv() {
            read.extend_from_slice(&piece.unwrap());
        }
        assert_eq!(read, text);
        let failed = Upload::open(Path::new("/nonexistent")).unwrap_err();
        assert!(failed.to_string().contains("/nonexistent"), "{failed}");
        let mut directory = Upload::open(Path::new("/")).unwrap();
        directory.pieces.blocking_recv().unwrap().unwrap_err();
    }
}
