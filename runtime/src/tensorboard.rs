//! Event files of TensorBoard, as bytes.
//!
//! A file is records, each an `Event` of TensorFlow's `event.proto` (a message of Protocol Buffers) between its length and
//! checksums: the length in eight bytes, its checksum, the event, its checksum. A checksum is a CRC-32C that is turned and added
//! to, so that one of data which has checksums in it still says something.

use lstmc_compiler::protobuf::Message;

/// Bytes before an event, and after it.
const BEFORE: usize = 12;
const AFTER: usize = 4;

/// Fields of `Event`.
const WALL_TIME: u64 = 1;
const STEP: u64 = 2;
const FILE_VERSION: u64 = 3;
const SUMMARY: u64 = 5;
const SESSION_LOG: u64 = 7;

/// When something happens: seconds since 1970, and updates since the run began.
#[derive(Clone, Copy, Debug)]
pub struct When {
    pub time: f64,
    pub step: u64,
}

impl When {
    fn event(self) -> Message {
        let mut event = Message::default();
        event.double(WALL_TIME, self.time);
        event.number(STEP, self.step);
        event
    }

    /// What a file begins with: its version, and that what another file has from this step on does not count.
    pub fn start(self) -> Vec<u8> {
        let mut version = Message::default();
        version.double(WALL_TIME, self.time);
        version.text(FILE_VERSION, "brain.Event:2");
        let (mut event, mut session) = (self.event(), Message::default());
        // The status: START.
        session.number(1, 1);
        event.message(SESSION_LOG, &session);
        [record(&version.into_bytes()), record(&event.into_bytes())].concat()
    }

    /// Numbers by their tags.
    pub fn scalars(self, values: &[(&str, f64)]) -> Vec<u8> {
        let mut summary = Message::default();
        for (tag, value) in values {
            let mut one = Message::default();
            one.text(1, tag);
            one.float(2, *value as f32);
            summary.message(1, &one);
        }
        self.summary(&summary)
    }

    /// A text, which is shown as Markdown.
    pub fn text(self, tag: &str, text: &str) -> Vec<u8> {
        let (mut shape, mut tensor) = (Message::default(), Message::default());
        let mut one = Message::default();
        one.number(1, 1);
        shape.message(2, &one);
        // Strings.
        tensor.number(1, 7);
        tensor.message(2, &shape);
        tensor.text(8, text);
        let (mut plugin, mut metadata) = (Message::default(), Message::default());
        plugin.text(1, "text");
        metadata.message(1, &plugin);
        // Kept as a tensor.
        metadata.number(4, 2);
        let (mut value, mut summary) = (Message::default(), Message::default());
        value.text(1, tag);
        value.message(8, &tensor);
        value.message(9, &metadata);
        summary.message(1, &value);
        self.summary(&summary)
    }

    fn summary(self, summary: &Message) -> Vec<u8> {
        let mut event = self.event();
        event.message(SUMMARY, summary);
        record(&event.into_bytes())
    }
}

fn record(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    let mut bytes = Vec::with_capacity(BEFORE + event.len() + AFTER);
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(&checksum(&length));
    bytes.extend_from_slice(event);
    bytes.extend_from_slice(&checksum(event));
    bytes
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// How many bytes of a file are whole records of events up to a step, from its beginning on.
pub fn up_to(bytes: &[u8], step: u64) -> usize {
    let mut at = 0;
    while let Some((event, after)) = first(&bytes[at..])
        && step_of(event).is_some_and(|own| own <= step)
    {
        at = bytes.len() - after.len();
    }
    at
}

/// The first record's event, and what follows it; none if that is no whole record.
fn first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let (event, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let (after, rest) = rest.split_first_chunk::<4>()?;
    (*sum == checksum(length) && *after == checksum(event)).then_some((event, rest))
}

/// The step of an event that this module has written: what comes before it is the time. One without a step says the version.
fn step_of(event: &[u8]) -> Option<u64> {
    let rest = event.strip_prefix(&[(WALL_TIME << 3 | 1) as u8])?;
    let (_, rest) = rest.split_first_chunk::<8>()?;
    let Some(rest) = rest.strip_prefix(&[(STEP << 3) as u8]) else { return Some(0) };
    let mut step = 0;
    for (place, byte) in rest.iter().take(10).enumerate() {
        step |= u64::from(byte & 0x7f).checked_shl(7 * place as u32)?;
        if byte & 0x80 == 0 {
            return Some(step);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(step: u64) -> When {
        When { time: 1.5, step }
    }

    #[test]
    fn checksums_are_the_formats_own() {
        // CRC-32C of "123456789" is 0xe3069283, as every description of it says.
        let masked = 0xe306_9283_u32.rotate_right(15).wrapping_add(0xa282_ead8);
        assert_eq!(checksum(b"123456789"), masked.to_le_bytes());
    }

    #[test]
    fn a_file_is_cut_after_a_step_and_where_a_record_is_broken() {
        let start = at(0).start();
        let (version, session) = start.split_at(BEFORE + 9 + 15 + AFTER);
        let parts = [
            version.to_vec(),
            session.to_vec(),
            at(0).text("model", "a"),
            at(3).scalars(&[("loss", 2.0)]),
            at(300).scalars(&[("loss", 1.0), ("rate", 0.5)]),
            at(300).text("prediction", "b"),
            at(400).scalars(&[("loss", 0.5)]),
        ];
        let lengths: Vec<usize> = (0..=parts.len()).map(|count| parts[..count].concat().len()).collect();
        let bytes = parts.concat();
        for (step, records) in [(0, 3), (2, 3), (3, 4), (299, 4), (300, 6), (399, 6), (400, 7), (u64::MAX, 7)]
        {
            assert_eq!(up_to(&bytes, step), lengths[records], "{step}");
        }
        for length in 0..bytes.len() {
            let whole = lengths.iter().rfind(|&&end| end <= length);
            assert_eq!(Some(&up_to(&bytes[..length], u64::MAX)), whole, "{length}");
        }
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 0x10;
            let whole = lengths.iter().rfind(|&&end| end <= at);
            assert_eq!(Some(&up_to(&broken, u64::MAX)), whole, "{at}");
        }
    }
}
