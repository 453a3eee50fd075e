//! A command between an archive and a check. Guards against a loss that nobody is told of, a volume
//! that is removed without anybody having meant it, and a "still there" that was never looked at.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::PGARK;
use crate::roundtrip::load_sample;
use crate::support::{Ran, Server, bin_dir, ok, run};

/// A project with a profile whose server is its own.
pub(crate) struct Project {
    pub(crate) server: Server,
    pub(crate) folder: tempfile::TempDir,
}

impl Project {
    pub(crate) fn new() -> Self {
        let it = Self { server: Server::start(17), folder: tempfile::tempdir().unwrap() };
        it.server.createdb("shop");
        load_sample(&it.server, "shop");
        it.config("");
        it
    }

    pub(crate) fn config(&self, more: &str) {
        let host = self.server.socket_dir().display();
        let text = format!(
            "[profile.staging]\nhost = \"{host}\"\nuser = \"postgres\"\ndbname = \"shop\"\n{more}\n\
             [[blob]]\ntable = \"image\"\ncolumn = \"file\"\nimage = true\n"
        );
        std::fs::write(self.path("pgark.toml"), text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn pgark(&self, args: &[&str]) -> Command {
        let mut command = self.server.pgark(PGARK);
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("HOME", self.folder.path());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        run(&mut self.pgark(args))
    }

    /// A shell in which `pgark` and the server's programs are found; libpq's environment leads
    /// nowhere, so that what is printed has to.
    pub(crate) fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(self.folder.path()).stdin(Stdio::null());
        let own = PathBuf::from(PGARK).parent().unwrap().to_owned();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs = [own, bin_dir(17)].into_iter().chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(dirs).unwrap()).env("HOME", self.folder.path());
        command.env("PGHOST", "/nonexistent").env("PGDATABASE", "nonexistent");
        command.env_remove("PGUSER").env_remove("PGPORT");
        command
    }

    pub(crate) fn archives(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("backups")).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names
            .filter(|name| {
                Path::new(name).extension().is_some_and(|end| end == "pgark")
                    && !name.contains("latest")
            })
            .collect();
        names.sort();
        names
    }

    /// A script that does this to the server: `pg_ctl` as whoever owns it.
    pub(crate) fn server_script(&self, name: &str, action: &str) -> String {
        self.script(name, &server_script(&self.server, action))
    }

    fn script(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    }
}

#[test]
fn a_restart_loses_nothing() {
    let it = Project::new();
    let restart = it.server_script("restart", "-w restart");
    let ran = it.run(&["guard", "staging", "--", &restart]);
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("ALL THERE."), "{}", ran.stdout);
    assert_eq!(it.archives().len(), 1);
    ok(&mut it.pgark(&["verify", "backups/backup_staging_latest.pgark"]));

    // A young archive is taken instead of a new one; an old one is not.
    let json = it.run(&["guard", "staging", "--max-age", "1h", "--json", "--", "echo", "ran"]);
    assert_eq!(json.code, Some(0), "{}\n{}", json.stdout, json.stderr);
    assert!(json.stderr.contains("ran\n"), "{}", json.stderr);
    let said: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        (&said["ok"], &said["ended"], &said["answers"]),
        (&true.into(), &0.into(), &true.into())
    );
    assert_eq!(said["check"]["lost"], serde_json::json!([]));
    assert_eq!(it.archives().len(), 1);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    ok(&mut it.pgark(&["guard", "staging", "--max-age", "1s", "--", "true"]));
    assert_eq!(it.archives().len(), 2);
}

/// The archive that it compares with afterwards is nobody's to remove.
#[test]
fn its_archive_outlives_its_command() {
    let it = Project::new();
    let command = "pgark create staging && pgark prune staging --yes --keep-last 1 && \
                   pgark prune backups --yes --keep-last 1";
    let mut guard = it.shell(&format!("pgark guard staging -- sh -c '{command}'"));
    let ran = run(&mut guard);
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("ALL THERE."), "{}", ran.stdout);
    let stays = ran.stderr.matches("stays: another pgark has it open").count();
    assert_eq!((stays, it.archives().len()), (2, 2), "{}", ran.stderr);
    // Afterwards it goes as any other.
    ok(&mut it.pgark(&["prune", "staging", "--yes", "--keep-last", "1"]));
    assert_eq!(it.archives().len(), 1);
}

/// A script that does this to a server: `pg_ctl` as whoever owns it.
pub(crate) fn server_script(server: &Server, action: &str) -> String {
    let (data, ctl) = (server.socket_dir().join("data"), bin_dir(server.major()).join("pg_ctl"));
    format!(
        "#!/bin/bash\nset -eu\ndata={}\nowner=$(stat -c %U \"$data\")\n\
         as=(); [ \"$(id -u)\" != 0 ] || as=(runuser -u \"$owner\" --)\n\
         cd /\n\"${{as[@]}}\" {} -D \"$data\" -m fast -l \"${{data%/*}}/log\" {action} >/dev/null\n",
        data.display(),
        ctl.display(),
    )
}

/// The commands under "How to bring it back", a line each.
pub(crate) fn way_back(printed: &str) -> Vec<String> {
    let (_, block) = printed.split_once("How to bring it back\n").expect("a way back");
    let mut lines: Vec<String> = Vec::new();
    let mut open = false;
    for line in block.lines().filter(|line| line.starts_with("       ")) {
        let more = line.trim().strip_suffix('\\');
        let text = more.unwrap_or(line.trim()).trim();
        match lines.last_mut().filter(|_| open) {
            Some(last) => *last = format!("{last} {text}"),
            None => lines.push(text.to_owned()),
        }
        open = more.is_some();
    }
    lines
}

#[test]
fn what_a_command_loses_is_named_and_comes_back() {
    let it = Project::new();
    let harm = "psql -Xq -d shop -c 'DELETE FROM image WHERE id = 3' \
                -c 'UPDATE template_translation SET \"imageId\" = NULL WHERE id <= 2' \
                -c \"INSERT INTO \\\"user\\\" SELECT * FROM \\\"user\\\" WHERE false\"";
    let ran = it.run(&["guard", "staging", "--", "sh", "-c", harm]);
    assert_eq!(ran.code, Some(1), "{}\n{}", ran.stdout, ran.stderr);
    for words in [
        "NOT ALL THERE.",
        "1 row of public.image was lost",
        "public.template_translation.imageId",
        "NULL now",
    ] {
        assert!(ran.stdout.contains(words), "{words}:\n{}", ran.stdout);
    }
    // Every line that is printed, as it is printed.
    let lines = way_back(&ran.stdout);
    assert_eq!(lines.len(), 4, "{}", ran.stdout);
    assert!(ran.stdout.lines().all(|line| line.chars().count() <= 80), "{}", ran.stdout);
    for line in &lines {
        let told = run(&mut it.shell(line));
        // compare says by its exit code that something differs, also when it writes statements.
        let expected = i32::from(line.starts_with("pgark compare"));
        assert_eq!(told.code, Some(expected), "{line}\n{}\n{}", told.stdout, told.stderr);
    }
    let archive = format!("backups/{}", it.archives()[0]);
    let checked = it.run(&["check", "staging", "--against", &archive]);
    assert_eq!(checked.code, Some(0), "{}\n{}", checked.stdout, checked.stderr);
}

#[test]
fn a_command_that_fails_or_stops_the_database() {
    let it = Project::new();
    let failed = it.run(&["guard", "staging", "--", "sh", "-c", "exit 7"]);
    assert_eq!(failed.code, Some(3));
    assert!(failed.stderr.contains("exit code 7") && failed.stdout.contains("ALL THERE"));
    let missing = it.run(&["guard", "staging", "--", "no-such-program"]);
    assert_eq!(missing.code, Some(3));
    assert!(missing.stderr.contains("no-such-program"), "{}", missing.stderr);

    // Its words say that it stops the server: that it does not answer is no fault.
    let stop = it.server_script("stop", "-w stop");
    it.script("bin/docker", &format!("#!/bin/bash\nexec {stop}\n"));
    let bin = it.path("bin");
    let with_docker = |args: &[&str]| {
        let mut command = it.pgark(args);
        let path = command.get_envs().find(|(n, _)| *n == "PATH").unwrap().1.unwrap().to_owned();
        let dirs = std::iter::once(bin.clone()).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(dirs).unwrap());
        run(&mut command)
    };
    let stopped = with_docker(&["guard", "staging", "--", "docker", "compose", "stop"]);
    assert_eq!(stopped.code, Some(0), "{}\n{}", stopped.stdout, stopped.stderr);
    assert!(stopped.stdout.contains("stopped, as the command wanted"), "{}", stopped.stdout);
    assert!(stopped.stdout.contains("pgark check staging --against"), "{}", stopped.stdout);
    ok(&mut Command::new(it.server_script("start", "-w start")));

    // One whose words do not is one.
    let silent = it.run(&["guard", "staging", "--wait", "2s", "--", &stop]);
    assert_eq!(silent.code, Some(3), "{}\n{}", silent.stdout, silent.stderr);
    assert!(silent.stdout.contains("did not answer for"), "{}", silent.stdout);
    // And there is no archive without a database: then nothing is run.
    let ran = it.run(&["guard", "staging", "--", "touch", "ran"]);
    assert!(ran.code == Some(3) && !it.path("ran").exists(), "{}", ran.stderr);
}

#[test]
fn volumes_are_not_removed_by_accident() {
    let it = Project::new();
    it.script("bin/docker", "#!/bin/bash\necho \"$@\" >>docker.log\n");
    let bin = it.path("bin");
    let guard = |more: &[&str], command: &[&str]| {
        let args = [&["guard", "staging"], more, &["--"], command].concat();
        let mut command = it.pgark(&args);
        let path = command.get_envs().find(|(n, _)| *n == "PATH").unwrap().1.unwrap().to_owned();
        let dirs = std::iter::once(bin.clone()).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(dirs).unwrap());
        run(&mut command)
    };
    let down = ["docker", "compose", "down", "-v"];
    let refused = guard(&[], &down);
    assert_eq!(refused.code, Some(2), "{}\n{}", refused.stdout, refused.stderr);
    assert!(refused.stderr.contains("removes the volumes"), "{}", refused.stderr);
    assert!(refused.stderr.contains("--yes-really"), "{}", refused.stderr);
    let other = guard(&["--yes-really", "production"], &down);
    assert_eq!(other.code, Some(2));
    assert!(!it.path("docker.log").exists(), "it was run");

    let done = guard(&["--yes-really", "staging"], &down);
    assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
    assert_eq!(std::fs::read_to_string(it.path("docker.log")).unwrap(), "compose down -v\n");

    // With a damaged archive nothing is run.
    std::fs::remove_file(it.path("docker.log")).unwrap();
    let archive = it.path("backups").join(&it.archives()[0]);
    let mut bytes = std::fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(it.path("damaged.pgark"), bytes).unwrap();
    let damaged = guard(&["--yes-really", "staging", "--archive", "damaged.pgark"], &down);
    assert_eq!(damaged.code, Some(1), "{}", damaged.stderr);
    assert!(damaged.stderr.contains("not run") && !it.path("docker.log").exists());
}
