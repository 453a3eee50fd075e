//! The team's day from beginning to end, on one server and in one folder. Guards against commands
//! that each work and do not fit together: a name that one prints and the next does not take, an
//! archive that one makes and another removes, a loss that is found and cannot be mended by what
//! was printed.

use std::path::Path;
use std::process::Command;

use crate::guard::{Project, way_back};
use crate::support::{self, Ran, run};

const DAY: u64 = 86_400;

/// Friday, 2026-10-16 02:00 UTC: before any archive that the story makes by itself.
const FIRST: u64 = 1_792_116_000;

struct Story(Project);

impl Story {
    /// A command that has to end with this exit code; lines are for a terminal of 80 columns.
    fn tell(&self, exit: i32, args: &[&str]) -> Ran {
        let ran = self.0.run(args);
        assert_eq!(ran.code, Some(exit), "{args:?}\n{}\n{}", ran.stdout, ran.stderr);
        for line in ran.stdout.lines().filter(|line| !line.contains("rows of rule")) {
            assert!(line.chars().count() <= 80, "{args:?}: too long: {line}\n{}", ran.stdout);
        }
        ran
    }

    fn psql(&self, sql: &str) -> String {
        self.0.server.psql("shop", sql)
    }

    fn latest(&self) -> String {
        let link = self.0.path("backups/backup_staging_latest.pgark");
        std::fs::read_link(link).unwrap().display().to_string()
    }

    fn archive_for_a_start(&self) -> String {
        let made = self.tell(0, &["create", "staging"]);
        for words in ["saved and verified", "images: 123 with bytes", "all resolve", "leads to it"]
        {
            assert!(made.stdout.contains(words), "{words}: {}", made.stdout);
        }
        self.tell(0, &["list", "staging"]);
        self.tell(0, &["drill", "staging"]);
        self.latest()
    }

    /// The server is restarted, and all is there.
    fn restart(&self) {
        let restart = self.0.server_script("restart", "-w restart");
        let before = self.psql("SELECT pg_postmaster_start_time()");
        let ran = self.tell(0, &["guard", "staging", "--", &restart]);
        assert!(ran.stdout.contains("ALL THERE."), "{}", ran.stdout);
        assert_ne!(self.psql("SELECT pg_postmaster_start_time()"), before, "it was restarted");
    }

    /// A command that loses rows and image ids: named, and brought back by what is printed.
    fn loss(&self) {
        let ids = "SELECT count(\"imageId\") FROM template_translation";
        let (rows, images) = (self.psql("SELECT count(*) FROM notification"), self.psql(ids));
        let harm = "psql -Xq -d shop -c 'DELETE FROM notification WHERE id <= 20' \
                    -c 'UPDATE template_translation SET \"imageId\" = NULL WHERE id <= 40'";
        let ran = self.tell(1, &["guard", "staging", "--", "sh", "-c", harm]);
        let lost = ran.stdout.replace('\n', " ");
        for words in [
            "NOT ALL THERE.",
            " rows of public.notification were lost",
            " values of public.template_translation.imageId are NULL now",
        ] {
            assert!(lost.contains(words), "{words}: {}", ran.stdout);
        }
        assert_ne!(self.psql("SELECT count(*) FROM notification"), rows);
        let lines = way_back(&ran.stdout);
        assert!(lines.iter().any(|line| line.starts_with("psql ")), "{lines:?}");
        for line in &lines {
            let did = run(&mut self.0.shell(line));
            let expected = i32::from(line.starts_with("pgark compare"));
            assert_eq!(did.code, Some(expected), "{line}\n{}\n{}", did.stdout, did.stderr);
        }
        assert_eq!(
            (self.psql("SELECT count(*) FROM notification"), self.psql(ids)),
            (rows, images)
        );
        let ran = self.tell(0, &["check", "staging", "--against", "latest"]);
        assert!(ran.stdout.contains("ALL THERE."), "{}", ran.stdout);
    }

    /// The database is replaced by an archive. What was there stays twice: as a database, and as an
    /// archive of its own series.
    fn replace(&self, archive: &str) {
        self.psql("CREATE TABLE made_later AS SELECT 1 AS i");
        let ran = self.tell(0, &["restore", "staging", archive, "--yes"]);
        assert!(ran.stdout.contains("RESTORED AND EQUAL"), "{}", ran.stdout);
        assert_eq!(self.psql("SELECT to_regclass('made_later') IS NULL"), "t");
        let kept = "SELECT datname FROM pg_database WHERE datname LIKE 'shop_before_%'";
        let kept = self.0.server.psql("postgres", kept);
        assert_eq!(self.0.server.psql(&kept, "SELECT i FROM made_later"), "1");
        let safety = self.0.archives().into_iter().find(|name| name.contains("_safety_")).unwrap();
        let inside = self.tell(0, &["cat", &format!("backups/{safety}"), "made_later"]);
        assert_eq!(inside.stdout, "1\n");
        self.tell(0, &["check", "staging", "--against", archive_path(archive).as_str()]);
    }

    /// Forty nights, an archive each, and what is not to be kept goes.
    fn forty_nights(&self) {
        for night in 0..40 {
            let second = (FIRST + night * DAY).to_string();
            let args = ["create", "staging", "--created", &second, "--quiet"];
            self.tell(0, &args);
        }
        let before = self.0.archives();
        let latest = self.latest();
        let look = self.tell(0, &["prune", "staging", "--dry-run"]);
        assert!(look.stdout.contains("would be removed."), "{}", look.stdout);
        assert_eq!(self.0.archives(), before);
        self.tell(0, &["prune", "staging", "--yes"]);
        let after = self.0.archives();
        let nights: Vec<&String> =
            after.iter().filter(|name| name.ends_with("_020000.pgark")).collect();
        // The newest is one of today, and so is a day; 6 days, 3 weeks and 1 month are nights.
        assert!((6..=12).contains(&nights.len()), "{nights:?}");
        assert_eq!(self.latest(), latest);
        assert!(after.contains(&latest), "{after:?}");
        assert!(after.iter().any(|name| name.contains("_safety_")), "{after:?}");
        let again = self.tell(0, &["prune", "staging", "--yes"]);
        assert!(again.stdout.contains("Nothing is to be removed."), "{}", again.stdout);
        // Whatever was kept is whole.
        for name in &after {
            self.tell(0, &["verify", &format!("backups/{name}"), "--quiet"]);
        }
    }

    /// The server is killed, and all that is left is a copy of its data directory: what was
    /// committed last is in it too.
    fn only_the_volume_is_left(&self) {
        // Servers of tests do not wait for what they commit.
        self.psql("SET synchronous_commit = on; CREATE TABLE last_words AS SELECT 7 AS i");
        let rows = self.psql("SELECT count(*) FROM notification");
        self.0.server.kill();
        let (data, copy) = (self.0.server.socket_dir().join("data"), self.0.path("volume"));
        support::ok(Command::new("cp").arg("-a").arg(data).arg(&copy));
        // The process that the copy names is gone.
        let volume = copy.display().to_string();
        let bin = support::bin_dir(17).display().to_string();
        let ran = self.tell(
            0,
            &["rescue", &volume, "--database", "shop", "-o", "rescued.pgark", "--bin", &bin],
        );
        assert!(ran.stdout.contains("rescued.pgark"), "{}", ran.stdout);
        let words = self.tell(0, &["cat", "rescued.pgark", "last_words"]);
        assert_eq!(words.stdout, "7\n");
        let all = self.0.run(&["cat", "rescued.pgark", "notification"]);
        assert_eq!(all.stdout.lines().count().to_string(), rows);
        self.tell(0, &["verify", "rescued.pgark"]);
    }
}

fn archive_path(name: &str) -> String {
    Path::new("backups").join(name).display().to_string()
}

#[test]
fn the_day_of_a_team() {
    let story = Story(Project::new());
    story.0.config("keep = { last = 3, daily = 7, weekly = 4, monthly = 2 }");
    let first = story.archive_for_a_start();
    story.restart();
    story.loss();
    story.replace(&first);
    story.forty_nights();
    story.only_the_volume_is_left();
}
