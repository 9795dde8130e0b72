//! Event files, read by their description alone.

use std::collections::BTreeMap;
use std::path::Path;

/// An event, as far as the tests look at it.
#[derive(Debug, Default)]
pub struct Event {
    pub time: f64,
    pub step: u64,
    pub version: Option<String>,
    /// Whether a session starts.
    pub starts: bool,
    pub scalars: Vec<(String, f32)>,
    pub texts: Vec<(String, String)>,
}

/// All events of a file, whose records have the right checksums.
pub fn read(path: &Path) -> Vec<Event> {
    let bytes = std::fs::read(path).expect("an event file");
    let (mut rest, mut events) = (bytes.as_slice(), vec![]);
    while !rest.is_empty() {
        let length = cut(&mut rest, 8);
        assert_eq!(cut(&mut rest, 4), masked(length), "of a length");
        let event = cut(&mut rest, u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize);
        assert_eq!(cut(&mut rest, 4), masked(event), "of an event");
        events.push(event_of(event));
    }
    events
}

/// The steps and values of each tag.
pub fn by_tag(events: &[Event]) -> BTreeMap<String, Vec<(u64, f32)>> {
    let mut found = BTreeMap::<String, Vec<(u64, f32)>>::new();
    for event in events {
        for (tag, value) in &event.scalars {
            found.entry(tag.clone()).or_default().push((event.step, *value));
        }
    }
    found
}

/// CRC-32C bit by bit, masked as the format says.
fn masked(bytes: &[u8]) -> [u8; 4] {
    let shifted = |sum: u32, _| if sum & 1 == 1 { (sum >> 1) ^ 0x82f6_3b78 } else { sum >> 1 };
    let sum = !bytes.iter().fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), shifted));
    sum.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// Takes bytes off the beginning.
fn cut<'a>(rest: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (bytes, after) = rest.split_at(len);
    *rest = after;
    bytes
}

fn varint(rest: &mut &[u8]) -> u64 {
    let (mut value, mut place) = (0, 0);
    loop {
        let byte = cut(rest, 1)[0];
        value |= u64::from(byte & 0x7f) << place;
        place += 7;
        if byte & 0x80 == 0 {
            return value;
        }
    }
}

/// What a field of a message holds.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn number(&self) -> u64 {
        if let Self::Number(number) = self { *number } else { panic!("bytes") }
    }

    fn bytes(&self) -> &'a [u8] {
        if let Self::Bytes(bytes) = self { bytes } else { panic!("a number") }
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes().into()).expect("a text")
    }
}

/// The fields of a message with their numbers.
fn fields(mut rest: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = vec![];
    while !rest.is_empty() {
        let key = varint(&mut rest);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut rest)),
            1 => Field::Bytes(cut(&mut rest, 8)),
            5 => Field::Bytes(cut(&mut rest, 4)),
            2 => {
                let len = varint(&mut rest) as usize;
                Field::Bytes(cut(&mut rest, len))
            }
            other => panic!("a field of kind {other}"),
        };
        found.push((key >> 3, field));
    }
    found
}

fn event_of(bytes: &[u8]) -> Event {
    let mut event = Event::default();
    for (number, field) in fields(bytes) {
        match number {
            1 => event.time = f64::from_le_bytes(field.bytes().try_into().expect("eight bytes")),
            2 => event.step = field.number(),
            3 => event.version = Some(field.text()),
            5 => fields(field.bytes()).iter().for_each(|(_, value)| add(&mut event, value.bytes())),
            7 => {
                event.starts =
                    fields(field.bytes()).iter().any(|(field, value)| *field == 1 && value.number() == 1)
            }
            other => panic!("field {other} of an event"),
        }
    }
    event
}

/// A value of a summary.
fn add(event: &mut Event, bytes: &[u8]) {
    let mut tag = String::new();
    for (number, field) in fields(bytes) {
        match number {
            1 => tag = field.text(),
            2 => {
                let value = f32::from_le_bytes(field.bytes().try_into().expect("four bytes"));
                event.scalars.push((tag.clone(), value));
            }
            8 => {
                let strings = fields(field.bytes()).into_iter().filter(|(number, _)| *number == 8);
                event.texts.extend(strings.map(|(_, text)| (tag.clone(), text.text())));
            }
            9 => assert!(field.bytes().windows(4).any(|bytes| bytes == b"text"), "the plugin"),
            other => panic!("field {other} of a value"),
        }
    }
}
