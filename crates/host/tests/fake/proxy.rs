//! A proxy on a port of this machine: whatever is asked for, it is at one other port.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

pub struct Proxy {
    pub port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Leads to `behind`, for those who send `authorization`.
    pub fn start(behind: u16, authorization: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let log = Arc::clone(&log);
                std::thread::spawn(move || lead(stream.unwrap(), behind, authorization, &log));
            }
        });
        Self { port, seen }
    }

    /// What was asked so far: method and target.
    pub fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn lead(mut client: TcpStream, behind: u16, authorization: Option<&str>, seen: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if line == "\r\n" {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let first = lines.remove(0);
    let asked = first.strip_suffix(" HTTP/1.1").unwrap_or(&first);
    seen.lock().unwrap().push(asked.to_owned());
    let login = |line: &String| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("proxy-authorization").then(|| value.to_owned())
    };
    if lines.iter().find_map(login).as_deref() != authorization {
        let _ = client.write_all(b"HTTP/1.1 407 Login\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        return;
    }
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", behind)) else {
        let _ = client.write_all(b"HTTP/1.1 502 Nobody\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        return;
    };
    if asked.starts_with("CONNECT ") {
        let _ = client.write_all(b"HTTP/1.1 200 Connected\r\nx: y\r\n\r\n");
    } else {
        // As a proxy does: the path alone, and without what was for the proxy.
        let (method, uri) = asked.split_once(' ').unwrap();
        let path = uri.splitn(4, '/').nth(3).unwrap_or_default();
        let kept = lines.iter().filter(|line| login(line).is_none());
        let head: Vec<String> = kept.map(|line| format!("{line}\r\n")).collect();
        let _ = server.write_all(format!("{method} /{path} HTTP/1.1\r\n{}\r\n", head.concat()).as_bytes());
    }
    let mut from = server.try_clone().unwrap();
    let mut to = client.try_clone().unwrap();
    let back = std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
    let _ = std::io::copy(&mut reader, &mut server);
    let _ = server.shutdown(std::net::Shutdown::Write);
    let _ = back.join();
}
