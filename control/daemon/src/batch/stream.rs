//! A stream of operations, one a line ([NDJSON](https://github.com/ndjson/ndjson-spec)), read while
//! it arrives.
//!
//! Only what the operations mean is kept, and of the text at most one line. A stream that is wrong
//! is read to its end, so that whoever sends it is there to hear what is wrong.

use serde::Deserialize as _;
use sluice_control_api::{RouteOperation, WithdrawRoutes};
use sluice_policy::model::{Name, Owner};

use super::{Batch, Form, MOST_TOLD, Reader};
use crate::error::ControlError;

/// The longest line, in bytes.
pub(crate) const LONGEST_LINE: usize = 64 << 10;

/// The most operations of a stream: twice as many as the whole Internet's table has.
pub(crate) const MOST_OPERATIONS: usize = 2_500_000;

/// The most bytes of a stream.
pub(crate) const MOST_BYTES: u64 = 1 << 30;

/// What holds for all lines of a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Defaults {
    /// Whose routes are those that say nothing.
    pub(crate) owner: Option<Owner>,
    /// Their instance.
    pub(crate) instance: Option<Name>,
    /// Their table.
    pub(crate) table: Option<Name>,
    /// Whether the owner's routes that are not in the stream are removed, those of the instance
    /// and the table if these are given.
    pub(crate) replace: bool,
}

/// Reads a stream piece by piece.
#[derive(Debug)]
pub(crate) struct Stream {
    reader: Reader,
    /// The beginning of a line whose end has not arrived.
    begun: Vec<u8>,
    line: u32,
    operations: usize,
    bytes: u64,
}

impl Stream {
    /// Begins to read.
    pub(crate) fn new(defaults: Defaults) -> Stream {
        let Defaults { owner, instance, table, replace } = defaults;
        let owner = owner.unwrap_or(Owner::Cli);
        let mut reader = Reader::new(Form::Lines);
        if replace {
            let (instance, table) = (instance.clone(), table.clone());
            let withdraw = WithdrawRoutes { owner: owner.clone(), instance, table };
            reader.read(0, RouteOperation::Withdraw(withdraw));
        }
        reader.say_by_default(owner, instance, table);
        Stream { reader, begun: Vec::new(), line: 0, operations: 0, bytes: 0 }
    }

    /// Reads a piece; an error is one that no more pieces can be read after.
    pub(crate) fn feed(&mut self, mut piece: &[u8]) -> Result<(), ControlError> {
        self.bytes += piece.len() as u64;
        if self.bytes > MOST_BYTES {
            return Err(ControlError::Request(format!(
                "the stream has more than {MOST_BYTES} bytes, which are the most: nothing changed"
            )));
        }
        while let Some(end) = memchr::memchr(b'\n', piece) {
            let (line, rest) = piece.split_at(end);
            piece = &rest[1..];
            if self.begun.is_empty() {
                self.line(line);
            } else {
                let mut begun = std::mem::take(&mut self.begun);
                self.keep(&mut begun, line);
                self.line(&begun);
                begun.clear();
                self.begun = begun;
            }
        }
        let mut begun = std::mem::take(&mut self.begun);
        self.keep(&mut begun, piece);
        self.begun = begun;
        Ok(())
    }

    /// The batch, after the last piece.
    pub(crate) fn finish(mut self) -> Result<Batch, ControlError> {
        let last = std::mem::take(&mut self.begun);
        self.line(&last);
        self.reader.finish()
    }

    /// Keeps the beginning of a line, but not more than shows that it is too long.
    fn keep(&self, begun: &mut Vec<u8>, more: &[u8]) {
        let room = (LONGEST_LINE + 1).saturating_sub(begun.len());
        begun.extend_from_slice(&more[..more.len().min(room)]);
    }

    fn line(&mut self, line: &[u8]) {
        self.line = self.line.saturating_add(1);
        let line = line.trim_ascii();
        // What is wrong already is not made worse.
        if line.is_empty() || self.reader.mistakes() > MOST_TOLD {
            return;
        }
        if line.len() > LONGEST_LINE {
            let text = format!("a line of more than {LONGEST_LINE} bytes, which are the most");
            return self.reader.mistake(self.line, "", &text);
        }
        self.operations += 1;
        if self.operations > MOST_OPERATIONS {
            if self.operations == MOST_OPERATIONS + 1 {
                let text = format!(
                    "more than {MOST_OPERATIONS} operations, which are the most of a stream"
                );
                self.reader.mistake(self.line, "", &text);
            }
            return;
        }
        match serde_json::from_slice(line) {
            Ok(operation) => self.reader.read(self.line, operation),
            Err(error) => {
                let (field, text) = explain(line, &error);
                self.reader.mistake(self.line, &field, &text);
            }
        }
    }
}

/// Which field of a line is wrong, and what is wrong with it.
fn explain(line: &[u8], error: &serde_json::Error) -> (String, String) {
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut deserializer, &mut track);
    let field = match RouteOperation::deserialize(tracked) {
        Err(_) => track.path().to_string(),
        // All of the line makes sense but what comes after the operation.
        Ok(_) => String::new(),
    };
    // A line of a stream is all of what the error speaks of.
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = text.strip_suffix(&place).unwrap_or(&text);
    let field = if field == "." { String::new() } else { field };
    (field, format!("{text} (column {})", error.column()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads text in pieces of every length.
    fn read(text: &str) -> Result<Batch, String> {
        let whole = pieces(text, text.len().max(1));
        for length in [1, 2, 3, 7, 64] {
            assert_eq!(
                format!("{:?}", pieces(text, length)),
                format!("{whole:?}"),
                "pieces of {length}"
            );
        }
        whole
    }

    fn pieces(text: &str, length: usize) -> Result<Batch, String> {
        let mut stream = Stream::new(Defaults::default());
        for piece in text.as_bytes().chunks(length) {
            stream.feed(piece).map_err(|error| error.to_string())?;
        }
        stream.finish().map_err(|error| error.failure().to_string())
    }

    const ROUTE: &str = r#"{"set":{"to":"10.9.0.0/16","via":"10.0.2.2"}}"#;

    #[test]
    fn lines_are_read_however_they_arrive() {
        let other = ROUTE.replace("10.9", "10.8");
        let batch = read(&format!("{ROUTE}\n\n  {other}\r\n")).unwrap();
        assert_eq!(batch.items.len(), 2);
        assert_eq!(batch.items[0].at, 3, "sorted, and the line is known");
        assert_eq!(read(ROUTE).unwrap().items.len(), 1, "the last line need not end");
        assert_eq!(read("").unwrap().items.len(), 0);
    }

    #[test]
    fn mistakes_name_line_and_field() {
        let text = format!(
            "{ROUTE}\n{{\n{}\n{}\n{ROUTE} x\n{}\n",
            r#"{"set":{"to":"10.7.0.0/16","metric":-1}}"#,
            r#"{"set":{"to":"10.7.0.1/16","via":["10.0.2.2"]}}"#,
            r#"{"set":{"to":"10.7.0.0/16","via":["10.0.2.2",{"addres":1}]}}"#,
        );
        let error = read(&text).unwrap_err();
        let lines: Vec<&str> = error.lines().map(str::trim).collect();
        for (line, says) in [
            "line 2: EOF while parsing",
            "line 3: set.metric: invalid value: integer `-1`, expected u32 (column 38)",
            "line 4: set.to: 10.7.0.1/16 has bits set beyond its length: 10.7.0.0/16 is meant?",
            "line 5: trailing characters",
            "line 6: set.via[1].addres: unknown field `addres`",
        ]
        .into_iter()
        .enumerate()
        {
            assert!(lines[line + 1].starts_with(says), "{error}");
        }
    }

    #[test]
    fn what_has_no_end_is_bounded() {
        let mut stream = Stream::new(Defaults::default());
        for _ in 0..100 {
            stream.feed(&[b'x'; 4096]).unwrap();
            assert!(stream.begun.len() <= LONGEST_LINE + 1);
        }
        let error = stream.finish().unwrap_err().to_string();
        assert!(error.starts_with("line 1: a line of more than 65536 bytes"), "{error}");

        let mut stream = Stream::new(Defaults::default());
        for _ in 0..10_000 {
            stream.feed(b"wrong\n").unwrap();
        }
        let failure = stream.finish().unwrap_err().failure();
        assert!(failure.details.len() <= MOST_TOLD + 1, "{}", failure.details.len());
    }
}
