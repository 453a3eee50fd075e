//! The servers tests run on: guards against a test that believes it ran on another version than it
//! did, and against servers that outlive their test.

use std::path::Path;

use crate::support::{MAJORS, Options, Server};

#[test]
fn each_major_version_is_what_it_says() {
    for major in MAJORS {
        let version = Server::shared(major).psql("postgres", "SHOW server_version_num");
        assert_eq!(version.parse::<u32>().unwrap() / 10_000, major);
    }
}

#[test]
fn a_server_goes_with_its_owner() {
    let server = Server::start(18);
    let dir = server.socket_dir().to_owned();
    let pid_file = std::fs::read_to_string(dir.join("data/postmaster.pid")).unwrap();
    // Unreadable once the process has ended, though nobody may have collected it yet.
    let program = Path::new("/proc").join(pid_file.lines().next().unwrap()).join("exe");
    assert!(program.read_link().is_ok());
    drop(server);
    assert!(!dir.exists());
    assert!(program.read_link().is_err());
}

#[test]
fn a_password_is_asked_for() {
    let options =
        Options { tcp: true, password: Some("it's a 'secret'".to_owned()), ..Options::default() };
    let server = Server::start_with(16, &options);
    assert_eq!(server.psql("postgres", "SELECT 1"), "1");
    let mut without = server.tool("psql");
    without.env_remove("PGPASSWORD").args(["-w", "-c", "SELECT 1", &server.url("postgres")]);
    assert!(!without.output().unwrap().status.success());
}
