//! A server that does what a test says: answers, lies, drips, is silent; or stands between the client
//! and a real one.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(5);

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// Path and query.
    pub(crate) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }
}

/// What is done about a request.
pub(crate) enum Answer {
    /// A status and a body.
    Reply(u16, Vec<u8>),
    /// These bytes, and then the end of the connection.
    Bytes(Vec<u8>),
    /// Nothing, ever.
    Silence,
    /// A byte now and then.
    Drip,
    /// A body without an end.
    Endless(u16),
    /// What the real server says, edited.
    Forward(SocketAddr, Box<dyn Fn(Vec<u8>) -> Vec<u8>>),
    /// What the real server says to another request.
    ForwardAs(SocketAddr, Seen),
    /// What the real server says, as it comes.
    Stream(SocketAddr),
    /// These bytes, then others again and again.
    Repeat(Vec<u8>, Vec<u8>),
    /// These bytes, and then nothing.
    Held(Vec<u8>),
    /// The real server gets it, and its answer is lost.
    Lose(SocketAddr),
}

type Play = dyn Fn(&Seen) -> Answer + Send + Sync;

pub(crate) struct Script {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Script {
    pub(crate) fn play(play: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let over = Arc::new(AtomicBool::new(false));
        let play: Arc<Play> = Arc::new(play);
        let (notes, ending) = (Arc::clone(&seen), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            let mut served = Vec::new();
            while !ending.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    std::thread::sleep(STEP);
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                let (play, notes) = (Arc::clone(&play), Arc::clone(&notes));
                let ending = Arc::clone(&ending);
                served.push(std::thread::spawn(move || {
                    serve(stream, &*play, (&notes, &ending));
                }));
            }
            for one in served {
                one.join().unwrap();
            }
        });
        Self {
            url,
            seen,
            over,
            thread: Some(thread),
        }
    }

    /// Requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Requests so far, forgotten with that.
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    /// Paths of requests so far, forgotten with that.
    pub(crate) fn take_paths(&self) -> Vec<String> {
        let seen = self.take();
        seen.iter().map(|one| one.path().to_owned()).collect()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join().is_ok();
            assert!(ended || std::thread::panicking(), "the script failed");
        }
    }
}

fn serve(mut stream: TcpStream, play: &Play, (notes, over): (&Mutex<Vec<Seen>>, &AtomicBool)) {
    let Some(seen) = read_request(&mut stream) else {
        return;
    };
    notes.lock().unwrap().push(seen.clone());
    // A client that has gone away takes nothing, and a server that has gives nothing.
    let _gone = match play(&seen) {
        Answer::Reply(status, body) => stream.write_all(&reply(status, &body)),
        Answer::Bytes(bytes) => stream.write_all(&bytes),
        Answer::Silence => {
            hold(over);
            Ok(())
        }
        Answer::Held(bytes) => {
            let sent = stream.write_all(&bytes);
            hold(over);
            sent
        }
        Answer::Repeat(first, again) => {
            let mut sent = stream.write_all(&first);
            while sent.is_ok() && !over.load(Ordering::Relaxed) {
                sent = stream.write_all(&again);
            }
            sent
        }
        Answer::Drip => {
            let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
            while sent.is_ok() && !over.load(Ordering::Relaxed) {
                sent = stream.write_all(b" ");
                std::thread::sleep(STEP);
            }
            sent
        }
        Answer::Endless(status) => {
            let head = format!("HTTP/1.1 {status} OK\r\nConnection: close\r\n\r\n");
            let mut sent = stream.write_all(head.as_bytes());
            while sent.is_ok() && !over.load(Ordering::Relaxed) {
                sent = stream.write_all(&[b' '; 8192]);
            }
            sent
        }
        Answer::Stream(to) => ask(to, &seen).and_then(|from| pass_on(from, &mut stream, over)),
        Answer::Forward(to, edit) => forward(to, &seen)
            .and_then(|(status, body)| stream.write_all(&reply(status, &edit(body)))),
        Answer::ForwardAs(to, other) => {
            forward(to, &other).and_then(|(status, body)| stream.write_all(&reply(status, &body)))
        }
        Answer::Lose(to) => forward(to, &seen).map(drop),
    };
}

fn hold(over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(STEP);
    }
}

/// Passes on what comes until one side ends, or the script.
fn pass_on(mut from: TcpStream, to: &mut TcpStream, over: &AtomicBool) -> std::io::Result<()> {
    from.set_read_timeout(Some(STEP))?;
    let mut part = [0; 8192];
    while !over.load(Ordering::Relaxed) {
        match from.read(&mut part) {
            Ok(0) => return Ok(()),
            Ok(read) => to.write_all(&part[..read])?,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn reply(status: u16, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} Some\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A head, and how much of the body came with it.
fn read_head(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut part = [0; 8192];
    loop {
        if let Some(end) = all.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&all[..end]).into_owned();
            return Some((head, all[end + 4..].to_vec()));
        }
        let read = stream.read(&mut part).ok().filter(|read| *read > 0)?;
        all.extend_from_slice(&part[..read]);
    }
}

fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let mut named = lines.filter(|(field, _)| field.eq_ignore_ascii_case(name));
    named.next().map(|(_, value)| value)
}

fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let (head, mut body) = read_head(stream)?;
    let length: usize = field(&head, "content-length").map_or(0, |n| n.parse().unwrap());
    let mut part = [0; 8192];
    while body.len() < length {
        let read = stream.read(&mut part).ok().filter(|read| *read > 0)?;
        body.extend_from_slice(&part[..read]);
    }
    Some(Seen { head, body })
}

fn forward(to: SocketAddr, seen: &Seen) -> std::io::Result<(u16, Vec<u8>)> {
    let mut stream = ask(to, seen)?;
    // It has ended, or ends while it replies.
    let (head, mut body) = read_head(&mut stream).ok_or(ErrorKind::UnexpectedEof)?;
    stream.read_to_end(&mut body)?;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok((status, body))
}

/// The real server, asked.
fn ask(to: SocketAddr, seen: &Seen) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut head = format!(
        "{} {} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\nContent-Length: {}\r\n",
        seen.method(),
        seen.path(),
        seen.body.len()
    );
    for name in ["content-type", "authorization", "range", "last-event-id"] {
        if let Some(value) = field(&seen.head, name) {
            head.extend([name, ": ", value, "\r\n"]);
        }
    }
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(b"\r\n").unwrap();
    stream.write_all(&seen.body).unwrap();
    Ok(stream)
}
