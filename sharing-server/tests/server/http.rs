//! A client that can also send what no client should.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use keyfold_protocol::error_code::{ErrorCode, ErrorReply};
use keyfold_protocol::routes::{Content, Method, Route};
use serde::Serialize;
use serde::de::DeserializeOwned;

const DEADLINE: Duration = Duration::from_mins(1);

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The code of an error; none of a success.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        (self.status >= 400).then(|| self.error().code)
    }

    pub(crate) fn error(&self) -> ErrorReply {
        let reply: ErrorReply = serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no error reply: {self:?}"));
        assert_eq!(reply.code.status(), self.status, "{reply:?}");
        reply
    }

    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn done(&self) {
        let text = String::from_utf8_lossy(&self.body);
        assert!((200..300).contains(&self.status), "{} {text}", self.status);
    }
}

/// Somebody who calls routes, with a session or without.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) token: Option<String>,
}

pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

impl Client {
    pub(crate) fn get(&self, route: Route, path: &str) -> Answer {
        self.call(route, path, &[])
    }

    pub(crate) fn call(&self, route: Route, path: &str, body: &[u8]) -> Answer {
        let answer = self.raw(&self.head(route, path, body.len()), body);
        if is_of(route, path)
            && let Some(code) = answer.code()
        {
            assert!(route.errors().contains(&code), "{route:?} answers {code}");
        }
        answer
    }

    /// The head of a request with a body of `length` bytes.
    pub(crate) fn head(&self, route: Route, path: &str, length: usize) -> String {
        let method = match route.spec().method {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        };
        let content = match route.spec().request {
            Content::Json => "Content-Type: application/json\r\n",
            Content::Cbor => "Content-Type: application/cbor\r\n",
            Content::Bytes => "Content-Type: application/octet-stream\r\n",
            _ => "",
        };
        let token = self.token.as_ref();
        let token = token.map_or(String::new(), |t| format!("Authorization: Bearer {t}\r\n"));
        format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\
             Content-Length: {length}\r\n{content}{token}"
        )
    }

    /// Sends a head, to which an empty line is added, and what follows it.
    pub(crate) fn raw(&self, head: &str, body: &[u8]) -> Answer {
        let mut stream = self.connect(head);
        // A server that refuses by the head may not take the body.
        let _sent = stream.write_all(body);
        read_answer(&mut stream)
    }

    pub(crate) fn connect(&self, head: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(b"\r\n").unwrap();
        stream
    }
}

/// Whether a path is that of a route, with its parameters filled.
fn is_of(route: Route, path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let (own, given) = (route.spec().path.split('/'), path.split('/'));
    let same = |(own, given): (&str, &str)| own == given || own.starts_with('{');
    own.clone().count() == given.clone().count() && own.zip(given).all(same)
}

/// Reads up to the end of the connection, or of the head where the body has no end.
fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut all = Vec::new();
    let mut part = [0; 8192];
    loop {
        if let Some(end) = all.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(all[..end].to_vec()).unwrap();
            let body = all[end + 4..].to_vec();
            let lower = head.to_ascii_lowercase();
            let length = lower
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length = length.map(|text| text.parse::<usize>().unwrap());
            let endless = lower.contains("text/event-stream");
            if endless || lower.contains(" 204 ") || length.is_some_and(|l| body.len() >= l) {
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                return Answer { status, head, body };
            }
        }
        let count = stream.read(&mut part).unwrap();
        assert!(count > 0, "no answer: {}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&part[..count]);
    }
}
