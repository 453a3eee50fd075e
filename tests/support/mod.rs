//! Throwaway `PostgreSQL` servers for tests.
//!
//! [`Server::shared`] gives one server per major version and test process: give each test a
//! database of its own ([`Server::database`]). [`Server::start`] gives a server to do violence to.
//! Servers end with the process that uses them, in whatever way it ends: see
//! `scripts/throwaway.sh`, which holds the other end of a pipe.
//!
//! A server that is not there is a failure, never a skipped test: `make servers` gets them.
//! They are looked for in `$PGARK_TEST_SERVERS/<major>/bin`, by default `.cache/postgresql`.

#![allow(dead_code, reason = "each user of this module uses a part of it")]

pub(crate) mod dump;
pub(crate) mod proxy;
pub(crate) mod scratch;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The versions every test of a server runs on.
pub(crate) const MAJORS: [u32; 5] = [14, 15, 16, 17, 18];

/// The checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The programs of one major version, such as `postgres` and `pg_dump`.
pub(crate) fn bin_dir(major: u32) -> PathBuf {
    let cache =
        std::env::var_os("PGARK_CACHE").map_or_else(|| root().join(".cache"), PathBuf::from);
    let servers = std::env::var_os("PGARK_TEST_SERVERS")
        .map_or_else(|| cache.join("postgresql"), PathBuf::from);
    let dir = root().join(servers).join(major.to_string()).join("bin");
    assert!(
        dir.join("postgres").exists(),
        "no PostgreSQL {major} server in {}: run `make servers`",
        dir.display()
    );
    dir
}

/// How a server is to be set up; the default is trust on a Unix socket.
#[derive(Clone, Default, Debug)]
pub(crate) struct Options {
    /// Listen on a free port of 127.0.0.1 as well.
    pub(crate) tcp: bool,
    /// The superuser's password: asked for with SCRAM on every connection.
    pub(crate) password: Option<String>,
    /// Encoding `SQL_ASCII` rather than UTF8.
    pub(crate) sql_ascii: bool,
    /// Server settings.
    pub(crate) settings: Vec<(String, String)>,
    /// Files for the data directory (certificates, `pg_hba.conf`): path in it and contents.
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

/// A running server; it stops and vanishes on drop.
#[derive(Debug)]
pub(crate) struct Server {
    major: u32,
    directory: PathBuf,
    port: u16,
    tcp: bool,
    password: Option<String>,
    watcher: Child,
}

impl Server {
    /// The server of this major version that all tests of this process share.
    pub(crate) fn shared(major: u32) -> &'static Self {
        static SHARED: [OnceLock<Server>; MAJORS.len()] = [const { OnceLock::new() }; MAJORS.len()];
        let place = MAJORS.iter().position(|known| *known == major).expect("a known major version");
        SHARED[place].get_or_init(|| Self::start(major))
    }

    /// A new server with default options.
    pub(crate) fn start(major: u32) -> Self {
        Self::start_with(major, &Options::default())
    }

    /// A new server.
    pub(crate) fn start_with(major: u32, options: &Options) -> Self {
        let mut command = Command::new("bash");
        command.arg(root().join("scripts/throwaway.sh")).arg(bin_dir(major));
        let mut port = 5432;
        if options.tcp {
            port = free_port();
            command.arg("listen_addresses=127.0.0.1");
        }
        command.arg(format!("port={port}"));
        if let Some(password) = &options.password {
            command.arg("auth=scram-sha-256").env("THROWAWAY_PASSWORD", password);
        }
        if options.sql_ascii {
            command.arg("sql-ascii");
        }
        command.args(options.settings.iter().map(|(name, value)| format!("{name}={value}")));
        let files = tempfile::tempdir().expect("a temporary directory");
        if !options.files.is_empty() {
            for (name, contents) in &options.files {
                let path = files.path().join(name);
                std::fs::create_dir_all(path.parent().expect("in there")).expect("a folder");
                std::fs::write(path, contents).expect("a temporary file");
            }
            command.arg(format!("files={}", files.path().display()));
        }

        let mut watcher =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("bash");
        let mut line = String::new();
        let output = watcher.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut line).expect("a line from throwaway.sh");
        let directory = line.trim_end().strip_prefix("ready ").map(PathBuf::from);
        let directory = directory.unwrap_or_else(|| panic!("PostgreSQL {major} did not start"));
        Self {
            major,
            directory,
            port,
            tcp: options.tcp,
            password: options.password.clone(),
            watcher,
        }
    }

    /// The major version.
    pub(crate) fn major(&self) -> u32 {
        self.major
    }

    /// Where its socket is.
    pub(crate) fn socket_dir(&self) -> &Path {
        &self.directory
    }

    /// The number in the socket's name and, with TCP, the port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A connection URL for a database, as the superuser `postgres`; over TCP if the server has
    /// it, else through the socket. Never holds the password: see [`Server::command`].
    pub(crate) fn url(&self, database: &str) -> String {
        let database = percent_encoded(database);
        if self.tcp {
            return format!("postgres://postgres@127.0.0.1:{}/{database}", self.port);
        }
        let host = percent_encoded(&self.directory.to_string_lossy());
        format!("postgres://postgres@{host}:{}/{database}", self.port)
    }

    /// A program with an environment in which libpq's defaults are this server.
    pub(crate) fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        without_server(command);
        command
            .env("PGHOST", &self.directory)
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", "postgres")
            .env("PGDATABASE", "postgres");
        if let Some(password) = &self.password {
            command.env("PGPASSWORD", password);
        }
        command
    }

    /// One of this version's own programs (`psql`, `pg_dump`, ...), connecting to this server.
    pub(crate) fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(bin_dir(self.major).join(name));
        self.environment(&mut command);
        command
    }

    /// The `pgark` program, with this server as libpq's default and this version's `pg_dump`.
    pub(crate) fn pgark(&self, executable: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(executable);
        self.environment(&mut command);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs = std::iter::once(bin_dir(self.major)).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(dirs).expect("directories without a colon"));
        command
    }

    /// Runs SQL or `psql` commands in a database, stopping at the first error; gives the rows,
    /// unaligned, fields separated by `|`.
    pub(crate) fn psql(&self, database: &str, sql: &str) -> String {
        self.psql_bytes(database, sql.as_bytes())
    }

    /// The same for SQL that is not UTF-8.
    pub(crate) fn psql_bytes(&self, database: &str, sql: &[u8]) -> String {
        let mut command = self.tool("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"]);
        command.arg("-d").arg(conninfo(database));
        let output = fed(&mut command, sql);
        assert!(
            output.status.success(),
            "psql failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Runs a file through `psql`, from its own directory.
    pub(crate) fn load(&self, database: &str, file: &Path) {
        let mut command = self.tool("psql");
        command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d"]).arg(conninfo(database));
        command.arg("-f").arg(file).stdout(Stdio::null());
        if let Some(parent) = file.parent() {
            command.current_dir(parent);
        }
        let output = command.output().expect("psql");
        assert!(
            output.status.success(),
            "psql failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// What `pg_dump` writes for a database.
    pub(crate) fn pg_dump(&self, database: &str, args: &[&str]) -> String {
        let mut command = self.tool("pg_dump");
        let output =
            command.args(args).arg("-d").arg(conninfo(database)).output().expect("pg_dump");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pg_dump failed: {words}");
        String::from_utf8(output.stdout).expect("pg_dump writes UTF-8")
    }

    /// Makes an empty database from template0; any name will do.
    pub(crate) fn createdb(&self, database: &str) {
        let name = database.replace('"', "\"\"");
        self.psql("postgres", &format!("CREATE DATABASE \"{name}\" TEMPLATE template0"));
    }

    /// Makes an empty database with a name nobody else has, beginning with `stem`.
    pub(crate) fn database(&self, stem: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("{stem}_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.createdb(&name);
        name
    }

    /// Kills the server without ceremony, as a crash would (the kernel's SIGKILL to all of it).
    pub(crate) fn kill(&self) {
        let pid_file = self.directory.join("data/postmaster.pid");
        let text = std::fs::read_to_string(pid_file).expect("postmaster.pid");
        let pid = text.lines().next().expect("a line");
        let killed = Command::new("kill").args(["-KILL", pid]).status().expect("kill");
        assert!(killed.success(), "kill -KILL {pid}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        // Nothing to be done about a failure here, least of all while panicking.
        let _ = self.watcher.wait();
    }
}

/// A `key=value` string, so that no database name is taken for one.
fn conninfo(database: &str) -> String {
    format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// What a program did.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its exit code; absent when a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it wrote to standard output.
    pub(crate) stdout: String,
    /// What it wrote to standard error.
    pub(crate) stderr: String,
}

/// The names of all fields of a report, with those within others.
pub(crate) fn fields(value: &serde_json::Value, all: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (name, value) in map {
                all.push(name.clone());
                fields(value, all);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| fields(item, all)),
        _ => {}
    }
}

/// Without anything of a server in the environment.
pub(crate) fn without_server(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
}

/// Runs a program to its end.
pub(crate) fn run(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } = fed(command, b"");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// Runs a program that has to end with exit code 0.
pub(crate) fn ok(command: &mut Command) -> Ran {
    let ran = run(command);
    assert_eq!(ran.code, Some(0), "{command:?}\n{}\n{}", ran.stdout, ran.stderr);
    ran
}

/// Runs a command with this input.
pub(crate) fn fed(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()));
    let mut stdin = child.stdin.take().expect("piped");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A child that stops early closes its end; its exit status says why.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().expect("the child's output")
    })
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a string takes it all");
        }
        out
    })
}
