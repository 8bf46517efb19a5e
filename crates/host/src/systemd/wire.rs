//! One D-Bus connection for calls and their replies, synchronous, each under a time limit.
//!
//! Bodies are marshalled by `zbus::wire`; the message header and the handshake (D-Bus specification, "Message
//! Protocol" and "Authentication Protocol") are written here, since zbus's own connection type links getaddrinfo.
//! Signals and calls that arrive are read and dropped.

use super::SystemdError;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use zbus::wire::serialized::{Context, Data};
use zbus::wire::{LE, Type};

/// Larger messages are refused; systemd's largest replies are some hundred KiB.
const MESSAGE_LIMIT: usize = 16 << 20;

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;

/// Header field codes.
mod field {
    pub(super) const PATH: u8 = 1;
    pub(super) const INTERFACE: u8 = 2;
    pub(super) const MEMBER: u8 = 3;
    pub(super) const ERROR_NAME: u8 = 4;
    pub(super) const REPLY_SERIAL: u8 = 5;
    pub(super) const DESTINATION: u8 = 6;
    pub(super) const SIGNATURE: u8 = 8;
}

/// A connection to a bus or to a peer.
#[derive(Debug)]
pub(super) struct Peer {
    stream: UnixStream,
    socket: PathBuf,
    serial: u32,
}

/// Where a call goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    /// The bus name. None for a peer.
    pub(super) destination: Option<&'a str>,
    /// The object.
    pub(super) path: &'a str,
    /// The interface.
    pub(super) interface: &'a str,
    /// The method.
    pub(super) method: &'a str,
}

/// A reply's body.
#[derive(Debug)]
pub(super) struct Reply {
    body: Vec<u8>,
    signature: String,
    big_endian: bool,
}

impl Reply {
    /// The body as a `T`, if it has `T`'s signature.
    pub(super) fn read<T: serde::de::DeserializeOwned + Type>(
        &self,
        method: &str,
    ) -> Result<T, SystemdError> {
        let unreadable =
            |reason: String| SystemdError::Protocol { what: format!("{method}'s reply"), reason };
        let expected = T::SIGNATURE.to_string();
        if self.signature != expected && format!("({})", self.signature) != expected {
            return Err(unreadable(format!("its type is `{}`, not `{expected}`", self.signature)));
        }
        let endian = if self.big_endian { zbus::wire::BE } else { LE };
        let data = Data::new(self.body.as_slice(), Context::new(endian, 0));
        data.deserialize::<T>().map(|(value, _)| value).map_err(|e| unreadable(e.to_string()))
    }
}

impl Peer {
    /// Connects and authenticates as this process's user.
    pub(super) fn connect(socket: &Path, deadline: Instant) -> Result<Self, SystemdError> {
        let failed = |source| SystemdError::Connect { socket: socket.to_owned(), source };
        let stream = open(socket, deadline).map_err(failed)?;
        let mut peer = Self { stream, socket: socket.to_owned(), serial: 0 };
        let uid: String =
            rustix::process::geteuid().as_raw().to_string().bytes().map(|b| format!("{b:02x}")).collect();
        // All at once, as libsystemd's own client does: its server reads a call that arrives together with a later
        // BEGIN into its buffer and does not look at it until more arrives (seen on systemd 257).
        let handshake = format!("\0AUTH EXTERNAL {uid}\r\nBEGIN\r\n");
        peer.send(handshake.as_bytes(), deadline).map_err(failed)?;
        let line = peer.read_line(deadline).map_err(failed)?;
        if !line.starts_with("OK ") {
            return Err(SystemdError::Protocol {
                what: format!("authentication at {}", socket.display()),
                reason: format!("the answer was `{line}`"),
            });
        }
        Ok(peer)
    }

    /// Calls a method and waits for its reply.
    pub(super) fn call<B>(
        &mut self,
        target: Target<'_>,
        body: &B,
        limit: Duration,
    ) -> Result<Reply, SystemdError>
    where
        B: serde::Serialize + Type,
    {
        let deadline = Instant::now() + limit;
        let failed = |source: std::io::Error, socket: &Path| match source.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                SystemdError::Timeout { what: target.method.to_owned(), limit }
            }
            _ => SystemdError::Connect { socket: socket.to_owned(), source },
        };
        self.serial = self.serial.wrapping_add(1).max(1);
        let message = method_call(self.serial, target, body)?;
        self.send(&message, deadline).map_err(|e| failed(e, &self.socket))?;
        loop {
            let message = self.read_message(deadline).map_err(|e| failed(e, &self.socket))?;
            let header = Header::parse(&message);
            if header.reply_serial != Some(self.serial) {
                continue;
            }
            let body = message.get(header.body_at..).unwrap_or_default().to_vec();
            let reply = Reply { body, signature: header.signature, big_endian: header.big_endian };
            return match header.kind {
                METHOD_RETURN => Ok(reply),
                _ => Err(SystemdError::Refused {
                    call: target.method.to_owned(),
                    // The first argument of an error is its text, by convention.
                    message: reply.read::<(String,)>(target.method).map(|(text,)| text).unwrap_or_default(),
                    name: header.error_name,
                }),
            };
        }
    }

    fn send(&mut self, bytes: &[u8], deadline: Instant) -> std::io::Result<()> {
        self.stream.set_write_timeout(Some(left(deadline)?))?;
        self.stream.write_all(bytes)
    }

    fn read_exact(&mut self, buffer: &mut [u8], deadline: Instant) -> std::io::Result<()> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            self.stream.set_read_timeout(Some(left(deadline)?))?;
            match self.stream.read(rest) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read_line(&mut self, deadline: Instant) -> std::io::Result<String> {
        let mut line = Vec::new();
        // Byte by byte: what follows the line belongs to the message protocol.
        while !line.ends_with(b"\r\n") && line.len() < 1024 {
            let mut byte = [0u8];
            self.read_exact(&mut byte, deadline)?;
            line.extend(byte);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// One whole message.
    fn read_message(&mut self, deadline: Instant) -> std::io::Result<Vec<u8>> {
        let mut message = vec![0u8; 16];
        self.read_exact(&mut message, deadline)?;
        let big_endian = message.first() == Some(&b'B');
        let number = |at| read_u32(&message, at, big_endian).unwrap_or(u32::MAX) as usize;
        let (body, fields) = (number(4), number(12));
        let length = fields.saturating_add(7) / 8 * 8;
        let total = length.saturating_add(body).saturating_add(16);
        if total > MESSAGE_LIMIT {
            return Err(ErrorKind::InvalidData.into());
        }
        message.resize(total, 0);
        self.read_exact(message.get_mut(16..).unwrap_or_default(), deadline)?;
        Ok(message)
    }
}

/// Connects without ever blocking in connect(2): a full backlog would.
fn open(socket: &Path, deadline: Instant) -> std::io::Result<UnixStream> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
    let address = SocketAddrUnix::new(socket)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let descriptor = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    loop {
        match connect(&descriptor, &address) {
            Ok(()) => break,
            Err(rustix::io::Errno::AGAIN) => {
                std::thread::sleep(left(deadline)?.min(Duration::from_millis(20)));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let stream = UnixStream::from(descriptor);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

fn left(deadline: Instant) -> std::io::Result<Duration> {
    deadline
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
        .ok_or_else(|| ErrorKind::TimedOut.into())
}

fn method_call<B>(serial: u32, target: Target<'_>, body: &B) -> Result<Vec<u8>, SystemdError>
where
    B: serde::Serialize + Type,
{
    let encoded = zbus::wire::to_bytes(Context::new(LE, 0), body).map_err(|e| SystemdError::Protocol {
        what: format!("the arguments of {}", target.method),
        reason: e.to_string(),
    })?;
    let signature = B::SIGNATURE.to_string();
    let signature = signature.strip_prefix('(').and_then(|s| s.strip_suffix(')')).unwrap_or(&signature);
    let mut fields = Vec::new();
    push_field(&mut fields, field::PATH, b'o', target.path);
    push_field(&mut fields, field::INTERFACE, b's', target.interface);
    push_field(&mut fields, field::MEMBER, b's', target.method);
    if let Some(destination) = target.destination {
        push_field(&mut fields, field::DESTINATION, b's', destination);
    }
    if !signature.is_empty() {
        push_field(&mut fields, field::SIGNATURE, b'g', signature);
    }
    let mut message = vec![b'l', METHOD_CALL, 0, 1];
    message.extend(u32::try_from(encoded.bytes().len()).unwrap_or(u32::MAX).to_le_bytes());
    message.extend(serial.to_le_bytes());
    message.extend(u32::try_from(fields.len()).unwrap_or(u32::MAX).to_le_bytes());
    message.extend(fields);
    pad(&mut message);
    message.extend(encoded.bytes());
    Ok(message)
}

/// Appends one `(yv)` whose variant holds a text. `fields` begins at a multiple of 8 in the message.
fn push_field(fields: &mut Vec<u8>, code: u8, kind: u8, text: &str) {
    pad(fields);
    fields.extend([code, 1, kind, 0]);
    if kind == b'g' {
        fields.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    } else {
        fields.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    }
    fields.extend(text.bytes());
    fields.push(0);
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}

fn read_u32(bytes: &[u8], at: usize, big_endian: bool) -> Option<u32> {
    let four: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) })
}

/// A message's header, as far as a caller needs it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Header {
    kind: u8,
    big_endian: bool,
    reply_serial: Option<u32>,
    error_name: String,
    signature: String,
    body_at: usize,
}

impl Header {
    /// Reads what it can: a field that is cut off or of an unexpected type ends it.
    fn parse(message: &[u8]) -> Self {
        let big_endian = message.first() == Some(&b'B');
        let kind = message.get(1).copied().filter(|kind| *kind <= 4).unwrap_or(ERROR);
        let mut header = Self { kind, big_endian, ..Self::default() };
        let end = 16usize.saturating_add(read_u32(message, 12, big_endian).unwrap_or(0) as usize);
        header.body_at = end.next_multiple_of(8);
        let fields = message.get(..end).unwrap_or_default();
        let mut at = 16;
        while let Some(next) = header.field(fields, at) {
            at = next.next_multiple_of(8);
        }
        header
    }

    /// Reads the field at `at`; returns where it ends.
    fn field(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        let (code, kind) = (*bytes.get(at)?, *bytes.get(at + 2)?);
        let value = at + 4;
        match kind {
            b'u' => {
                let number = read_u32(bytes, value, self.big_endian)?;
                if code == field::REPLY_SERIAL {
                    self.reply_serial = Some(number);
                }
                Some(value + 4)
            }
            b's' | b'o' | b'g' => {
                let (length, from) = match kind {
                    b'g' => (usize::from(*bytes.get(value)?), value + 1),
                    _ => (read_u32(bytes, value, self.big_endian)? as usize, value + 4),
                };
                let end = from.checked_add(length)?;
                let text = String::from_utf8_lossy(bytes.get(from..end)?).into_owned();
                match code {
                    field::ERROR_NAME => self.error_name = text,
                    field::SIGNATURE => self.signature = text,
                    _ => {}
                }
                Some(end + 1)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target<'static> {
        Target { destination: Some("a.b"), path: "/a", interface: "a.b.C", method: "Do" }
    }

    #[test]
    fn a_call_reads_back_as_a_header() {
        let message = method_call(7, target(), &("x".to_owned(), 5u32)).unwrap();
        let header = Header::parse(&message);
        assert_eq!((header.kind, header.signature.as_str()), (METHOD_CALL, "su"));
        assert_eq!(&message[header.body_at..], b"\x01\0\0\0x\0\0\0\x05\0\0\0");
        let reply =
            Reply { body: message[header.body_at..].to_vec(), signature: "su".to_owned(), big_endian: false };
        assert_eq!(reply.read::<(String, u32)>("Do").unwrap(), ("x".to_owned(), 5));
        assert!(reply.read::<(u32,)>("Do").is_err());
    }

    #[test]
    fn cut_headers_do_not_panic() {
        let message = method_call(7, target(), &("x".to_owned(), 5u32)).unwrap();
        for end in 0..message.len() {
            Header::parse(&message[..end]);
        }
    }

    #[test]
    fn a_peer_that_says_nothing_meets_the_time_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bus");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let started = Instant::now();
        assert!(Peer::connect(&path, started + Duration::from_millis(100)).is_err());
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
