//! Servers in containers, with a stand-in for the docker command. Guards against a backup of
//! another server than the one in the container, a password among the arguments, sessions that are
//! left behind in the container, and an error that does not say what is missing.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::PGARK;
use crate::support::{self, Options, Ran, Server, ok, run};

/// A server "in a container", a project that has it as a service, and its database.
struct Setting {
    server: Server,
    folder: tempfile::TempDir,
}

/// The password of the server's superuser, which is in the container's environment.
const PASSWORD: &str = "hunter2 'x'";

impl Setting {
    fn new(major: u32, password: bool, published: bool) -> Self {
        let options = Options {
            tcp: true,
            password: password.then(|| PASSWORD.to_owned()),
            ..Options::default()
        };
        let server = Server::start_with(major, &options);
        server.createdb("shop");
        server.psql(
            "shop",
            "CREATE TABLE image (id integer PRIMARY KEY, file bytea);
             INSERT INTO image SELECT i, decode(repeat(md5(i::text), 100), 'hex') FROM generate_series(1, 50) i;
             INSERT INTO image VALUES (51, NULL)",
        );
        let it = Self { server, folder: tempfile::tempdir().unwrap() };
        it.container("cafe01", "running", published);
        std::fs::write(it.path("standin/db.ids"), "cafe01\n").unwrap();
        std::fs::write(it.path("compose.yml"), "services: {}\n").unwrap();
        std::fs::write(
            it.path("pgark.toml"),
            "[profile.dev]\ncompose = { file = \"compose.yml\", service = \"db\" }\n\
             [profile.named]\ndocker = \"cafe01\"\n",
        )
        .unwrap();
        it
    }

    /// What inspect says of a container.
    fn container(&self, id: &str, status: &str, published: bool) {
        let port = self.server.port();
        let bindings = if published {
            format!("[{{\"HostIp\":\"0.0.0.0\",\"HostPort\":\"{port}\"}}]")
        } else {
            "null".to_owned()
        };
        let inspected = serde_json::json!([{
            "Id": id,
            "Name": "/shop-db-1",
            "State": { "Running": status == "running", "Status": status },
            "Config": { "Image": "postgres", "Env": [
                "POSTGRES_DB=shop", format!("POSTGRES_PASSWORD={PASSWORD}"), format!("PGPORT={port}")
            ] },
            "NetworkSettings": { "Ports": { format!("{port}/tcp"): serde_json::Value::Null } },
        }]);
        let text = inspected.to_string().replace(":null", &format!(":{bindings}"));
        std::fs::create_dir_all(self.path("standin")).unwrap();
        std::fs::write(self.path(&format!("standin/{id}.json")), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// pgark in the project's folder, with nothing in its environment that leads to the server.
    fn pgark(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PGARK);
        command.args(args).current_dir(self.folder.path());
        support::without_server(&mut command);
        let standin = support::root().join("tests/support/container");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(standin).chain(std::env::split_paths(&path));
        command
            .env("PATH", std::env::join_paths(folders).unwrap())
            .env("HOME", self.folder.path())
            .env("STANDIN", self.path("standin"))
            .env("STANDIN_BIN", support::bin_dir(self.server.major()))
            .env("STANDIN_SOCKET", self.server.socket_dir())
            // What must not be looked at: it would lead nowhere.
            .env("PGHOST", "/nonexistent")
            .env("PGDATABASE", "nonexistent");
        command
    }

    fn calls(&self) -> String {
        std::fs::read_to_string(self.path("standin/calls.log")).unwrap_or_default()
    }

    fn sessions(&self) -> String {
        self.server.psql(
            "postgres",
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgark%'",
        )
    }

    fn latest(&self, profile: &str) -> PathBuf {
        self.path(&format!("backups/backup_{profile}_latest.pgark"))
    }
}

fn wait(what: &str, mut until: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !until() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Nothing is published: rows come through docker exec, and so does what is restored.
#[test]
fn a_server_without_a_published_port() {
    for (major, password) in [(14, false), (18, true)] {
        let it = Setting::new(major, password, false);
        let ran = ok(&mut it.pgark(&["create", "dev"]));
        assert!(ran.stdout.contains("saved and verified"), "{}", ran.stdout);
        assert!(ran.stdout.contains("51  images: 50 with bytes, 1 without"), "{}", ran.stdout);
        assert!(ran.stderr.contains("database shop in container shop-db-1 as user postgres"));
        let calls = it.calls();
        assert!(calls.contains("compose -f ") && calls.contains(" ps -q db"), "{calls}");
        assert!(calls.contains("cafe01 pg_dump --format=custom"), "{calls}");
        assert!(calls.contains("/dev/tcp/127.0.0.1/"), "{calls}");
        assert!(!calls.contains("hunter2"), "{calls}");
        wait("sessions end", || it.sessions() == "0");

        it.server.psql("shop", "DELETE FROM image WHERE id > 10");
        let different = run(&mut it.pgark(&["compare", "dev", "--with", "dev"]));
        assert_eq!(different.code, Some(1), "{}", different.stderr);
        let ran = ok(&mut it.pgark(&["restore", "dev", "--yes"]));
        assert!(ran.stdout.contains("RESTORED AND EQUAL"), "{}", ran.stdout);
        assert!(ran.stdout.contains("the old data is in "), "{}", ran.stdout);
        assert_eq!(it.server.psql("shop", "SELECT count(*) FROM image"), "51");
        ok(&mut it.pgark(&["compare", "dev", "--with", "dev"]));
        wait("sessions end", || it.sessions() == "0");
    }
}

/// The password is the container's own; `pg_dump` runs inside all the same.
#[test]
fn a_server_with_a_published_port() {
    let it = Setting::new(16, true, true);
    let ran = ok(&mut it.pgark(&["create", "named", "--json"]));
    assert!(ran.stdout.contains("\"profile\":\"named\""), "{}", ran.stdout);
    let port = it.server.port();
    let place = format!("in container shop-db-1 (127.0.0.1:{port})");
    assert!(ran.stderr.contains(&place), "{}", ran.stderr);
    let calls = it.calls();
    assert!(calls.contains("cafe01 pg_dump") && !calls.contains("/dev/tcp"), "{calls}");
    assert!(!calls.contains("hunter2"), "{calls}");
    ok(Command::new(PGARK).arg("verify").arg(it.latest("named")));

    // On another machine the port is not ours, whatever answers there.
    std::fs::remove_file(it.path("standin/calls.log")).unwrap();
    let mut elsewhere = it.pgark(&["compare", "named", "--with", "named"]);
    ok(elsewhere.env("STANDIN_CONTEXT", "ssh://db.example.org"));
    assert!(it.calls().contains("/dev/tcp"), "{}", it.calls());
}

/// A tool that is killed leaves no session in the container: it would hold its locks for ever.
#[test]
fn sessions_end_with_the_tool() {
    let it = Setting::new(17, false, false);
    let mut holder = it.server.tool("psql");
    holder.args(["-X", "-d", "shop", "-c", "BEGIN; LOCK image; SELECT pg_sleep(60)"]);
    let holder = Killed(holder.stdout(Stdio::null()).spawn().unwrap());
    let locked = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted";
    wait("the lock", || it.server.psql("postgres", locked) != "0");
    let mut command = it.pgark(&["create", "dev", "--lock-timeout", "60s"]);
    let mut tool = Killed(command.stderr(Stdio::null()).spawn().unwrap());
    wait("sessions begin", || it.sessions() != "0");
    tool.0.kill().unwrap();
    tool.0.wait().unwrap();
    drop(holder);
    wait("sessions end", || it.sessions() == "0");
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[test]
fn what_is_missing_is_said() {
    let it = Setting::new(15, false, false);
    let said = |args: &[&str]| -> Ran {
        let ran = run(&mut it.pgark(args));
        assert_eq!(ran.code, Some(3), "{}", ran.stderr);
        assert!(!it.path("backups").exists());
        ran
    };
    let with = |name: &str, text: &str| std::fs::write(it.path(name), text).unwrap();

    with("standin/no-bash", "");
    let ran = said(&["create", "dev"]);
    assert!(ran.stderr.contains("executable file not found"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: the container needs bash"), "{}", ran.stderr);
    std::fs::remove_file(it.path("standin/no-bash")).unwrap();

    with("standin/no-compose", "");
    let ran = said(&["create", "dev"]);
    assert!(ran.stderr.contains("docker says: docker: unknown command: docker compose"));
    assert!(ran.stderr.contains("hint: install the compose plugin"), "{}", ran.stderr);
    std::fs::remove_file(it.path("standin/no-compose")).unwrap();

    with("standin/db.ids", "cafe01\ncafe02\n");
    let ran = said(&["create", "dev"]);
    assert!(ran.stderr.contains("has 2 running containers, and one is needed"), "{}", ran.stderr);
    with("standin/db.ids", "");
    let ran = said(&["create", "dev"]);
    assert!(ran.stderr.contains("compose.yml has no running container"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: docker compose up -d"), "{}", ran.stderr);

    it.container("cafe01", "exited", false);
    let ran = said(&["create", "named"]);
    assert!(ran.stderr.contains("container shop-db-1 is exited, not running"), "{}", ran.stderr);
    std::fs::remove_file(it.path("standin/cafe01.json")).unwrap();
    let ran = said(&["create", "named"]);
    assert!(ran.stderr.contains("No such container: cafe01"), "{}", ran.stderr);

    // Nothing else needs docker, and its absence is told.
    let mut command = it.pgark(&["create", "named"]);
    let ran = run(command.env("PATH", it.path("nothing")));
    assert_eq!(ran.code, Some(3));
    let wanted = "container cafe01: the docker command is not installed, or not on the PATH";
    assert!(ran.stderr.contains(wanted), "{}", ran.stderr);
    assert!(ran.stderr.contains("nothing else needs docker"), "{}", ran.stderr);
    let ran = run(it.pgark(&["list", "."]).env("PATH", Path::new("/nonexistent")));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

/// The statements of `compare --sql` run in the container, by the line that is printed.
#[test]
fn what_is_lost_comes_back_through_docker() {
    let it = Setting::new(16, false, false);
    // People name a container by its name.
    std::fs::copy(it.path("standin/cafe01.json"), it.path("standin/shop-db-1.json")).unwrap();
    ok(&mut it.pgark(&["create", "dev"]));
    it.server.psql("shop", "DELETE FROM image WHERE id <= 3");
    let ran = run(&mut it.pgark(&["check", "dev", "--against", "latest"]));
    assert_eq!(ran.code, Some(1), "{}\n{}", ran.stdout, ran.stderr);
    let lines = crate::guard::way_back(&ran.stdout);
    let psql = format!("docker exec -i shop-db-1 psql -p {} -U postgres -d shop", it.server.port());
    assert!(lines.iter().any(|line| line.starts_with(&psql)), "{lines:?}");
    for line in &lines {
        let pgark = it.pgark(&[]);
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).stdin(Stdio::null()).current_dir(it.folder.path());
        shell.envs(pgark.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let path = shell.get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap();
        let own = Path::new(PGARK).parent().unwrap().to_owned();
        let path = std::env::join_paths(std::env::split_paths(path).chain([own])).unwrap();
        let ran = run(shell.env("PATH", path));
        assert_eq!(ran.code, Some(i32::from(line.contains(" compare "))), "{line}: {}", ran.stderr);
    }
    assert_eq!(it.server.psql("shop", "SELECT count(*) FROM image"), "51");
}
