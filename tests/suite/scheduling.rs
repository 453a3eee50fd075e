//! The examples of `examples/scheduling`, as they are. Guards against a night that is described and
//! does not work, and a failure at two o'clock that nobody hears of.
//!
//! The command lines are taken out of the files as their programs would, and run on a real server.
//! Only paths and the connection are put in place of the examples' own.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use yaml_rust2::YamlLoader;

use crate::PGARK;
use crate::roundtrip::load_sample;
use crate::support::{Ran, Server, bin_dir, root, run};

/// A machine with `/srv/shop` as the examples want it.
struct Machine {
    server: Server,
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let server = Server::start(17);
        server.createdb("shop");
        load_sample(&server, "shop");
        let it = Self { server, folder: tempfile::tempdir().unwrap() };
        std::fs::copy(example("notify"), it.path("notify")).unwrap();
        std::fs::create_dir(it.path("bin")).unwrap();
        let mail = "#!/bin/sh\n{ echo \"$@\"; cat; } >> mail.log\n";
        std::fs::write(it.path("bin/mail"), mail).unwrap();
        std::fs::set_permissions(it.path("bin/mail"), PermissionsExt::from_mode(0o755)).unwrap();
        it.connect(it.server.port());
        it
    }

    /// The example's `pgark.toml` with a connection to this port.
    fn connect(&self, port: u16) {
        let text = text("pgark.toml");
        let host = self.server.socket_dir().display().to_string();
        let text = replaced(&text, "db.example.org", &host);
        let text = replaced(&text, "port = 5432", &format!("port = {port}"));
        let text = replaced(&text, "\"app\"", "\"postgres\"");
        std::fs::write(self.path("pgark.toml"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command in an environment as bare as cron's.
    fn bare(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let own = Path::new(PGARK).parent().unwrap().to_owned();
        let dirs = [own, self.path("bin"), bin_dir(17), "/usr/bin".into(), "/bin".into()];
        command.env_clear().env("PATH", std::env::join_paths(dirs).unwrap());
        command.env("HOME", self.folder.path()).stdin(Stdio::null());
        command
    }

    fn mail(&self) -> String {
        std::fs::read_to_string(self.path("mail.log")).unwrap_or_default()
    }

    fn archives(&self) -> usize {
        let entries = std::fs::read_dir(self.path("backups")).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with("verdict")).count()
    }

    /// A good night, and one in which the database does not answer.
    fn nights(&self, night: impl Fn() -> Ran) {
        self.connect(self.server.port());
        let (before, told) = (self.archives(), self.mail());
        let good = night();
        assert_eq!(good.code, Some(0), "{}\n{}", good.stdout, good.stderr);
        assert_eq!((self.archives(), self.mail()), (before + 1, told.clone()));

        self.connect(1);
        let bad = night();
        assert_eq!(bad.code, Some(3), "{}\n{}", bad.stdout, bad.stderr);
        assert!(bad.stderr.contains("error: "), "{}", bad.stderr);
        assert_eq!(self.archives(), before + 1);
        let mail = self.mail();
        let new = mail.strip_prefix(&told).unwrap();
        let (subject, report) = new.split_once('\n').unwrap();
        assert_eq!(subject, "-s pgark create of staging ended with 3 team@example.org");
        let report: serde_json::Value = serde_json::from_str(report).unwrap();
        assert_eq!(report["error"]["exit"], 3);
    }
}

fn example(name: &str) -> PathBuf {
    root().join("examples/scheduling").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(example(name)).unwrap()
}

fn replaced(text: &str, what: &str, with: &str) -> String {
    assert!(text.contains(what), "{what} is not in: {text}");
    text.replace(what, with)
}

#[test]
fn systemd() {
    let it = Machine::new();
    let here = it.folder.path().display().to_string();
    let unit = replaced(&text("pgark@.service"), "/srv/shop", &here);
    let unit = replaced(&unit, "/usr/local/bin/pgark", PGARK);
    assert!(unit.lines().any(|line| line == "Type=oneshot"), "lines of another type run at once");
    assert!(unit.lines().any(|line| line == format!("WorkingDirectory={here}")));
    let lines: Vec<String> = unit
        .lines()
        .filter_map(|line| line.strip_prefix("ExecStart="))
        .map(|line| line.replace("%i", "staging"))
        .collect();
    assert_eq!(lines.len(), 3);
    it.nights(|| {
        let mut all = Ran { code: Some(0), stdout: String::new(), stderr: String::new() };
        for line in &lines {
            let mut words = line.split(' ');
            let mut command = it.bare(words.next().unwrap());
            let ran = run(command.args(words).current_dir(it.folder.path()));
            all.stdout.push_str(&ran.stdout);
            all.stderr.push_str(&ran.stderr);
            all.code = ran.code;
            // As systemd does: the first that fails is the last.
            if ran.code != Some(0) {
                break;
            }
        }
        all
    });

    // systemd's own opinion of both units, where it is installed.
    let units = it.path("units");
    std::fs::create_dir(&units).unwrap();
    std::fs::write(units.join("pgark@staging.service"), &unit).unwrap();
    std::fs::write(units.join("pgark@staging.timer"), text("pgark@.timer")).unwrap();
    let mut verify = Command::new("systemd-analyze");
    verify
        .arg("verify")
        .args([units.join("pgark@staging.service"), units.join("pgark@staging.timer")]);
    match verify.output() {
        Ok(said) => {
            let words = String::from_utf8_lossy(&said.stderr);
            let about: Vec<&str> = words.lines().filter(|line| line.contains("pgark@")).collect();
            assert!(said.status.success() && about.is_empty(), "{words}");
        }
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
    }
    // And ours: each line is a section, a comment or a key with a value.
    for line in unit.lines().chain(text("pgark@.timer").lines()) {
        let section = ["[Unit]", "[Service]", "[Timer]", "[Install]"].contains(&line);
        let key = line.split_once('=').is_some_and(|(key, value)| {
            !value.is_empty() && key.chars().all(|c| c.is_ascii_alphabetic())
        });
        assert!(section || key || line.is_empty() || line.starts_with('#'), "{line}");
    }
}

#[test]
fn cron() {
    let it = Machine::new();
    let table = text("crontab");
    let entry = table.lines().find(|line| line.starts_with(|c: char| c.is_ascii_digit())).unwrap();
    let fields: Vec<&str> = entry.splitn(6, ' ').collect();
    assert_eq!(fields[..5], ["0", "2", "*", "*", "*"]);
    let line = replaced(fields[5].trim(), "/srv/shop", &it.folder.path().display().to_string());
    assert!(!line.contains('%'), "cron makes lines of these");
    it.nights(|| {
        let ran = run(it.bare("/bin/sh").args(["-c", &line]).current_dir("/"));
        // Nothing is sent for a good night.
        assert!(ran.code != Some(0) || (ran.stdout.is_empty() && ran.stderr.is_empty()), "{ran:?}");
        ran
    });
}

#[test]
fn compose() {
    let it = Machine::new();
    let file = YamlLoader::load_from_str(&text("compose.yml")).unwrap();
    let service = &file[0]["services"]["backup"];
    let words = |key: &str| -> Vec<String> {
        let list = service[key].as_vec().unwrap();
        list.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(service["working_dir"].as_str(), Some("/srv/shop"));
    assert!(words("volumes").contains(&"./backups:/srv/shop/backups".to_owned()));
    let command = [words("entrypoint"), words("command")].concat();
    assert_eq!(command.len(), 3, "sh takes one line");
    assert!(!command[2].contains('$'), "compose takes these for its own");
    it.nights(|| {
        let mut run_in = it.bare(&command[0]);
        run(run_in.args(&command[1..]).current_dir(it.folder.path()))
    });
}

/// A night in which the data has faults: everybody is told, and nothing is removed.
#[test]
fn nothing_goes_in_a_bad_night() {
    let it = Machine::new();
    let rules = "\n[[count]]\ntable = \"user\"\nat_least = 1000000\n";
    let toml = std::fs::read_to_string(it.path("pgark.toml")).unwrap();
    std::fs::write(it.path("pgark.toml"), toml + rules).unwrap();
    let file = YamlLoader::load_from_str(&text("compose.yml")).unwrap();
    let line = file[0]["services"]["backup"]["command"][0].as_str().unwrap().to_owned();
    let ran = run(it.bare("sh").args(["-c", &line]).current_dir(it.folder.path()));
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(it.mail().starts_with("-s pgark create of staging ended with 1 "), "{}", it.mail());
    assert_eq!(it.archives(), 1);
    assert!(!ran.stdout.contains("removed"), "{}", ran.stdout);
}
