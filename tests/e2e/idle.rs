//! Connections that stay open between requests, as SDKs keep them, are cheap.

use millrace_tests::site::Site;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const CONNECTIONS: usize = 2_000;
const BYTES_MAX: u64 = 60_000_000;

fn ask(connection: &mut TcpStream) {
    connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: millrace\r\n\r\n").expect("the connection is open");
    let mut answer = Vec::new();
    let mut part = [0; 512];
    while !answer.ends_with(b"ok\n") {
        let read = connection.read(&mut part).expect("the server answers");
        assert_ne!(read, 0, "the server hung up: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&part[..read]);
    }
}

#[test]
fn two_thousand_idle_connections_take_less_than_sixty_megabytes() {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("the kernel tells the limits");
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("one is on open files");
    let files = files.split_whitespace().next().expect("a soft limit");
    let is_enough = files == "unlimited" || files.parse().is_ok_and(|files: usize| files > CONNECTIONS + 200);
    assert!(is_enough, "the soft limit of open files is {files}; `ulimit -n 4096` first, as tests/run.sh does");
    // The server takes over the limit of this process.
    let site = Site::start();
    let address = site.server.http_endpoint().trim_start_matches("http://").to_owned();
    let connect = || {
        let mut connection = TcpStream::connect(&address).expect("the server listens");
        connection.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket takes a time-out");
        ask(&mut connection);
        connection
    };
    drop(connect());
    let before = site.server.resident_bytes();
    let mut idle: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect()).collect();
    let grown = site.server.resident_bytes().saturating_sub(before);
    println!("{CONNECTIONS} idle connections take {} KiB each", grown / 1024 / CONNECTIONS as u64);
    assert!(grown < BYTES_MAX, "{CONNECTIONS} idle connections took {grown} bytes");
    idle.iter_mut().for_each(ask);
}
