//! What is read from the control directory, and by whom.

use super::*;

struct Echo;

impl ControlService for Echo {
    fn status_json(&self) -> Vec<u8> {
        b"{\"state\":\"ok\"}\n".to_vec()
    }

    fn run(&self, line: &str, _: ControlCaller) -> Result<String, ControlError> {
        if line == "fail" {
            return Err(ControlError {
                errno: libc::ENOENT,
                message: "no such thing".into(),
            });
        }
        Ok(format!("did {line}"))
    }
}

fn read(control: &ControlDir, handle: Handle, offset: u64, size: usize) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; size];
    let len = control.read(handle, offset, &mut buffer)?;
    buffer.truncate(len);
    Ok(buffer)
}

fn directory() -> ControlDir {
    let owner = Owner {
        uid: nix::unistd::getuid().as_raw(),
        gid: 0,
    };
    ControlDir::new(Arc::new(Echo), owner)
}

fn me() -> ControlCaller {
    ControlCaller {
        uid: nix::unistd::getuid().as_raw(),
        gid: 0,
        pid: std::process::id(),
    }
}

#[test]
fn a_reply_is_read_from_where_the_command_ended_or_from_the_start() {
    let control = directory();
    for start in [0, 5] {
        let handle = control.open(Node::Control, me()).unwrap();
        assert_eq!(control.write(handle, b"sync\n", me()), Ok(5));
        assert_eq!(read(&control, handle, start, 4).unwrap(), b"did ");
        assert_eq!(read(&control, handle, start + 4, 100).unwrap(), b"sync\n");
        assert_eq!(read(&control, handle, start + 9, 100).unwrap(), b"");
        assert_eq!(read(&control, handle, 0, 100).unwrap(), b"did sync\n");
        control.release(handle);
        assert_eq!(read(&control, handle, 0, 1), Err(Errno::EBADF));
    }
}

#[test]
fn a_failing_command_fails_the_write_and_says_why() {
    let control = directory();
    let handle = control.open(Node::Control, me()).unwrap();
    assert_eq!(control.write(handle, b"fail", me()), Err(Errno::ENOENT));
    assert_eq!(read(&control, handle, 0, 100).unwrap(), b"no such thing\n");
    assert_eq!(control.write(handle, b"sync", me()), Err(Errno::EBUSY));
}

#[test]
fn reading_without_a_command_does_nothing() {
    let control = directory();
    let handle = control.open(Node::Control, me()).unwrap();
    assert_eq!(read(&control, handle, 0, 100).unwrap(), b"");
    assert_eq!(control.write(handle, b"sync", me()), Ok(4));
}

#[test]
fn only_one_line_of_text_is_a_command() {
    assert_eq!(command(b" sync \n"), Ok("sync"));
    assert_eq!(
        command(b"{\n  \"command\": \"sync\"\n}\n"),
        Ok("{\n  \"command\": \"sync\"\n}")
    );
    let long = [b'a'; COMMAND_MAX + 1];
    let refused: [(&[u8], &str); 7] = [
        (b"", "empty"),
        (b"\n", "empty"),
        (b"sync\nsync", "one line"),
        (b"sy\0nc", "control"),
        (b"\xff\xfe", "UTF-8"),
        (b"a\x1b[2J", "control"),
        (&long, "too long"),
    ];
    for (data, why) in refused {
        let control = directory();
        let handle = control.open(Node::Control, me()).unwrap();
        assert_eq!(control.write(handle, data, me()), Err(Errno::EINVAL));
        let told = read(&control, handle, 0, 100).unwrap();
        assert!(String::from_utf8(told).unwrap().contains(why));
    }
}

#[test]
fn strangers_are_refused() {
    let control = directory();
    for caller in [
        ControlCaller { uid: 4711, ..me() },
        ControlCaller { pid: 0, ..me() },
        // No process can have this id.
        ControlCaller {
            pid: u32::MAX,
            ..me()
        },
    ] {
        assert_eq!(control.open(Node::Status, caller), Err(Errno::EACCES));
    }
}
