//! Slow and greedy clients: nobody holds what others need for longer than the limits say.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use keyfold_crypto::sha256;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::BlobId;
use keyfold_protocol::routes::Route;
use keyfold_server::config::Config;

use crate::http::Client;
use crate::people::{Share, person};
use crate::world::{World, refused, upload};

/// No limit under test is near that.
const DEADLINE: Duration = Duration::from_mins(1);

fn impatient() -> Config {
    Config {
        head_seconds: 1,
        silence_seconds: 1,
        ..Config::default()
    }
}

fn before(deadline: Instant, what: &str) {
    assert!(Instant::now() < deadline, "{what}");
}

/// A connection from an address of this machine, with room for little that nobody reads.
fn connect_from(address: [u8; 4], to: SocketAddr) -> std::io::Result<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(8 << 10)?;
        socket.bind(SocketAddr::from((Ipv4Addr::from(address), 0)))?;
        let stream = socket.connect(to).await?.into_std()?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(stream)
    })
}

/// What the other side sends until it closes. Panics if it does not close.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the connection stays: {error}"),
    }
    all
}

/// Sends one byte after another, slowly, until the other side closes.
fn dribble(stream: &mut TcpStream, byte: u8) {
    let deadline = Instant::now() + DEADLINE;
    let pause = Duration::from_millis(20);
    stream.set_read_timeout(Some(pause)).unwrap();
    let mut answer = [0; 1024];
    loop {
        before(deadline, "a client that dribbles is waited for");
        if stream.write_all(&[byte]).is_err() {
            return;
        }
        match stream.read(&mut answer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

fn answers(client: &Client) -> bool {
    let Ok(mut stream) = TcpStream::connect(client.address) else {
        return false;
    };
    healthy(&mut stream)
}

/// Whether somebody at the other end answers.
fn healthy(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let request = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut answer = Vec::new();
    stream.write_all(request).is_ok()
        && stream.read_to_end(&mut answer).is_ok()
        && answer.starts_with(b"HTTP/1.1 200")
}

#[test]
fn a_head_that_does_not_come_in_time_ends_the_connection() {
    let world = World::with(&impatient());
    let beginnings: [&[u8]; 5] = [
        b"",
        b"P",
        b"PRI * HTTP/2.0\r\n",
        b"POST /v1/login HTTP/1.1\r\nHost: x\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
    ];
    let mut streams = beginnings.map(|beginning| {
        let mut stream = TcpStream::connect(world.address).unwrap();
        stream.write_all(beginning).unwrap();
        stream
    });
    for (stream, beginning) in streams.iter_mut().zip(beginnings) {
        let answer = rest(stream);
        let answered = answer.starts_with(b"HTTP/1.1 200");
        assert_eq!(answered, beginning.ends_with(b"\r\n\r\n"), "{answer:?}");
    }
    let mut slow = TcpStream::connect(world.address).unwrap();
    slow.write_all(b"GET /health HTTP/1.1\r\nX-Slow: ").unwrap();
    dribble(&mut slow, b'x');
    assert!(answers(&world.anonymous()));
}

#[test]
fn a_body_that_goes_silent_or_dribbles_ends_the_connection_and_changes_nothing() {
    let world = World::with(&impatient());
    let client = world.join(&person("alice"));
    let head = client.head(Route::PutBook, "/v1/account/book", 1000);
    let mut silent = client.connect(&head);
    silent.write_all(b"{\"generation\":1,").unwrap();
    let answer = rest(&mut silent);
    assert!(answer.starts_with(b"HTTP/1.1 400"), "{answer:?}");
    let login = world.anonymous();
    let head = login.head(Route::Login, "/v1/login", 60_000);
    let mut slow = login.connect(&head);
    dribble(&mut slow, b' ');
    let book: keyfold_protocol::wire::BookReply =
        client.get(Route::Book, "/v1/account/book").json();
    assert_eq!(book.generation, 0);
}

#[test]
fn one_address_has_so_many_connections_and_others_are_served_meanwhile() {
    let world = World::with(&Config {
        connections_per_address: 3,
        ..Config::default()
    });
    let mut held: Vec<_> = (0..3)
        .map(|_| TcpStream::connect(world.address).unwrap())
        .collect();
    // Accepted in order: once this one is turned away, those before are counted.
    let mut fourth = TcpStream::connect(world.address).unwrap();
    assert_eq!(rest(&mut fourth), b"");
    let mut other = connect_from([127, 0, 0, 2], world.address).unwrap();
    assert!(healthy(&mut other));
    held.pop();
    let deadline = Instant::now() + DEADLINE;
    while !answers(&world.anonymous()) {
        before(deadline, "a place that was given back is not given again");
    }
}

#[test]
fn there_are_so_many_connections_in_all() {
    let world = World::with(&Config {
        connections: 2,
        ..Config::default()
    });
    let held: Vec<_> = (2..4)
        .map(|last| connect_from([127, 0, 0, last], world.address).unwrap())
        .collect();
    let mut third = TcpStream::connect(world.address).unwrap();
    assert_eq!(rest(&mut third), b"");
    drop(held);
    let deadline = Instant::now() + DEADLINE;
    while !answers(&world.anonymous()) {
        before(deadline, "a place that was given back is not given again");
    }
}

#[test]
fn one_user_has_so_many_streams_of_events_and_others_have_theirs() {
    let world = World::with(&Config {
        event_streams_per_user: 2,
        ..Config::default()
    });
    let (alice, bob) = (world.join(&person("alice")), world.join(&person("bob")));
    let open = |client: &Client| {
        let mut stream = client.connect(&client.head(Route::Events, "/v1/events", 0));
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        (first.ends_with(b"200"), stream)
    };
    let mut held = vec![open(&alice), open(&alice)];
    assert!(held.iter().all(|(opened, _)| *opened));
    let third = alice.get(Route::Events, "/v1/events");
    refused(&third, ErrorCode::RateLimited);
    assert!(third.head.to_ascii_lowercase().contains("retry-after: "));
    assert!(open(&bob).0);
    held.pop();
    let deadline = Instant::now() + DEADLINE;
    while !open(&alice).0 {
        before(deadline, "a stream that was ended is still counted");
    }
}

#[test]
fn who_asks_too_often_is_told_to_wait_a_second_and_others_are_served() {
    let world = World::with(&Config {
        requests_per_second: 5,
        ..Config::default()
    });
    let client = world.anonymous();
    let deadline = Instant::now() + DEADLINE;
    let refused_one = loop {
        let reply = client.get(Route::Health, "/health");
        if reply.status != 200 {
            break reply;
        }
        before(deadline, "nobody is refused");
    };
    refused(&refused_one, ErrorCode::RateLimited);
    let head = refused_one.head.to_ascii_lowercase();
    assert!(head.contains("retry-after: 1\r\n"), "{head}");
    while !answers(&client) {
        before(deadline, "a second is over and nothing is served");
    }
    let mut other = connect_from([127, 0, 0, 2], world.address).unwrap();
    assert!(healthy(&mut other));
}

#[test]
fn who_takes_no_byte_of_a_reply_loses_the_connection() {
    let world = World::with(&Config {
        connections_per_address: 1,
        ..impatient()
    });
    let alice = person("alice");
    let client = world.join(&alice);
    let share = Share::begin(&alice);
    upload(&client, &share);
    let bytes = vec![7; 4 << 20];
    let blob = BlobId(sha256(&[&bytes]));
    let path = Route::PutBlob.path(&[&share.id, &blob]) + "?offset=0&size=4194304";
    client.call(Route::PutBlob, &path, &bytes).done();
    let elsewhere = [127, 0, 0, 9];
    let mut greedy = connect_from(elsewhere, world.address).unwrap();
    let head = client.head(Route::Blob, &Route::Blob.path(&[&share.id, &blob]), 0);
    let head = head.replace("Connection: close\r\n", "") + "\r\n";
    // More than the system keeps for a reader who does not read.
    greedy.write_all(head.repeat(4).as_bytes()).unwrap();
    let deadline = Instant::now() + DEADLINE;
    while !connect_from(elsewhere, world.address).is_ok_and(|mut next| healthy(&mut next)) {
        before(deadline, "a connection that is not read from stays");
    }
    assert!(rest(&mut greedy).len() < 4 * bytes.len());
}
