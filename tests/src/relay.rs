//! Somebody between clients and a sharing server, who does what a test says.
//!
//! HTTP as clients of a server without TLS speak it, one request on each connection.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(5);
/// Fields of a request that go on to the server.
const PASSED: [&str; 4] = ["content-type", "authorization", "range", "last-event-id"];

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    head: String,
    /// Its body.
    pub body: Vec<u8>,
}

impl Request {
    /// A request of one's own, by whoever has this session.
    pub fn new(method: &str, path: &str, session: Option<&str>) -> Self {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if let Some(session) = session {
            head.extend(["authorization: Bearer ", session, "\r\n"]);
        }
        Self {
            head,
            body: Vec::new(),
        }
    }

    /// The same with a body of this kind.
    #[must_use]
    pub fn with(mut self, kind: &str, body: Vec<u8>) -> Self {
        self.head.extend(["content-type: ", kind, "\r\n"]);
        self.body = body;
        self
    }

    /// The method.
    pub fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    /// Path and query.
    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// Whether the path, without its query, begins and ends so.
    pub fn is(&self, method: &str, begin: &str, end: &str) -> bool {
        let path = self.path().split('?').next().unwrap_or_default();
        self.method() == method && path.starts_with(begin) && path.ends_with(end)
    }

    /// Sends it to a server, and returns what that answers.
    pub fn ask(&self, to: SocketAddr) -> io::Result<Reply> {
        let mut stream = self.send(to)?;
        let (head, mut body) = read_head(&mut stream)?;
        stream.read_to_end(&mut body)?;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let status = status.ok_or(ErrorKind::InvalidData)?;
        Ok(Reply { status, body })
    }

    fn send(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let (method, path) = (self.method(), self.path());
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n");
        head.extend(["Content-Length: ", &self.body.len().to_string(), "\r\n"]);
        for name in PASSED {
            if let Some(value) = field(&self.head, name) {
                head.extend([name, ": ", value, "\r\n"]);
            }
        }
        stream.write_all(head.as_bytes())?;
        stream.write_all(b"\r\n")?;
        stream.write_all(&self.body)?;
        Ok(stream)
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status of HTTP.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    fn head(&self, length: usize) -> Vec<u8> {
        let status = self.status;
        let head = format!(
            "HTTP/1.1 {status} Some\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        head.into_bytes()
    }
}

/// What is done about a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The server answers.
    Honest,
    /// This.
    Reply(Reply),
    /// The server gets it, and what it answers is lost.
    Lost,
    /// The connection ends at once.
    Closed,
    /// Nothing, ever.
    Silence,
    /// This, a byte now and then.
    Dribble(Reply),
    /// This, but half of its body.
    Half(Reply),
    /// A body without an end.
    Endless,
}

type Script = dyn Fn(&Request, SocketAddr) -> Answer + Send + Sync;

/// What those who serve connections share.
struct Shared {
    server: SocketAddr,
    script: Mutex<Option<Arc<Script>>>,
    over: AtomicBool,
}

/// Somebody between clients and a server. Dropping it ends it.
pub struct Relay {
    url: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Relay {
    /// One before this server, who is honest to begin with.
    pub fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            server,
            script: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            while !serving.over.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    thread::sleep(STEP);
                    continue;
                };
                let shared = Arc::clone(&serving);
                // Who has gone away takes nothing, and who asks for nothing gets nothing.
                thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Self {
            url,
            shared,
            thread: Some(thread),
        }
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on requests are answered so.
    pub fn play(&self, script: impl Fn(&Request, SocketAddr) -> Answer + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap() = Some(Arc::new(script));
    }

    /// From now on the server answers.
    pub fn be_honest(&self) {
        *self.shared.script.lock().unwrap() = None;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the relay at {} failed", self.url);
        }
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let request = read_request(&mut stream)?;
        let script = self.script.lock().unwrap().clone();
        let answer = script.map_or(Answer::Honest, |script| script(&request, self.server));
        match answer {
            Answer::Honest if request.path() == "/v1/events" => {
                self.pass_on(request.send(self.server)?, &mut stream)
            }
            Answer::Honest => {
                let reply = request.ask(self.server)?;
                stream.write_all(&reply.head(reply.body.len()))?;
                stream.write_all(&reply.body)
            }
            Answer::Reply(reply) => {
                stream.write_all(&reply.head(reply.body.len()))?;
                stream.write_all(&reply.body)
            }
            Answer::Lost => request.ask(self.server).map(drop),
            Answer::Closed => Ok(()),
            Answer::Silence => {
                while !self.is_over() {
                    thread::sleep(STEP);
                }
                Ok(())
            }
            Answer::Dribble(reply) => {
                stream.write_all(&reply.head(reply.body.len()))?;
                for byte in reply.body {
                    stream.write_all(&[byte])?;
                    thread::sleep(Duration::from_millis(200));
                    if self.is_over() {
                        return Ok(());
                    }
                }
                Ok(())
            }
            Answer::Half(reply) => {
                stream.write_all(&reply.head(reply.body.len()))?;
                stream.write_all(&reply.body[..reply.body.len() / 2])
            }
            Answer::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
                while !self.is_over() {
                    stream.write_all(&[b' '; 8192])?;
                }
                Ok(())
            }
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Passes on what comes until one side ends.
    fn pass_on(&self, mut from: TcpStream, to: &mut TcpStream) -> io::Result<()> {
        from.set_read_timeout(Some(STEP))?;
        let mut part = [0; 8192];
        while !self.is_over() {
            match from.read(&mut part) {
                Ok(0) => return Ok(()),
                Ok(read) => to.write_all(&part[..read])?,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// A head, and how much of the body came with it.
fn read_head(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut part = [0; 8192];
    loop {
        if let Some(end) = all.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&all[..end]).into_owned();
            return Ok((head, all[end + 4..].to_vec()));
        }
        let read = stream.read(&mut part)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        all.extend_from_slice(&part[..read]);
    }
}

fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let mut named = lines.filter(|(field, _)| field.eq_ignore_ascii_case(name));
    named.next().map(|(_, value)| value)
}

fn read_request(stream: &mut TcpStream) -> io::Result<Request> {
    let (head, mut body) = read_head(stream)?;
    let length = field(&head, "content-length").map_or(Ok(0), str::parse::<usize>);
    let length = length.map_err(|_| ErrorKind::InvalidData)?;
    let mut part = [0; 8192];
    while body.len() < length {
        let read = stream.read(&mut part)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        body.extend_from_slice(&part[..read]);
    }
    Ok(Request { head, body })
}
