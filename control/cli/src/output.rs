//! Standard output, whose reader may have read enough: `sluice show routes | head`.

use std::io::{ErrorKind, Write};

use crate::failed::Failed;

/// Writes text; whether there still is a reader.
pub(crate) fn write(text: &str) -> Result<bool, Failed> {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failed::Output(error)),
    }
}
