//! Two network namespaces that a test makes and that vanish with it.

#![allow(dead_code)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Two namespaces and the veth pair between them; `router` has the end `x0`, `host` the end `h0`.
pub struct Net {
    pub host: String,
    pub router: String,
}

impl Net {
    pub fn new(test: &str) -> Net {
        let name = |end: &str| format!("tpm{}{test}{end}", std::process::id());
        let net = Net { host: name("h"), router: name("x") };
        let Net { host, router } = &net;
        ip(&format!("netns add {host}"));
        ip(&format!("netns add {router}"));
        ip(&format!("link add x0 netns {router} type veth peer name h0 netns {host}"));
        ip(&format!("-n {host} link set h0 up"));
        ip(&format!("-n {router} link set x0 up"));
        net
    }

    /// A program in one of them.
    pub fn exec(&self, namespace: &str, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).arg(program);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        super::common::dies_with_its_test(&mut command);
        command
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for namespace in [&self.host, &self.router] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

/// `ip` with these words.
#[track_caller]
pub fn ip(words: &str) {
    let output = Command::new("ip").args(words.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Waits for half a minute at most.
#[track_caller]
pub fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let began = Instant::now();
    while !reached() {
        assert!(began.elapsed() < Duration::from_secs(30), "not in half a minute: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Send a frame through an interface.
pub fn send(interface: &str, frames: impl Iterator<Item = Vec<u8>>) {
    let name = std::ffi::CString::new(interface).unwrap();
    // SAFETY: a socket of ours, an address of its own size, and bytes that live until each call returns.
    unsafe {
        let socket = libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0);
        let mut to: libc::sockaddr_ll = std::mem::zeroed();
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
        let length = size_of::<libc::sockaddr_ll>() as u32;
        for (at, frame) in frames.enumerate() {
            let sent = libc::sendto(socket, frame.as_ptr().cast(), frame.len(), 0, (&raw const to).cast(), length);
            assert_eq!(sent, frame.len() as isize, "{}", std::io::Error::last_os_error());
            if at % 16 == 15 {
                // A queue of the kernel's holds some hundred.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}
