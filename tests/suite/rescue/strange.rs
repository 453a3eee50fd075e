//! Data directories and tars as they come from elsewhere, in good faith or not.

use super::*;

/// Docker's `POSTGRES_USER`: there is no role `postgres`. And settings that no other machine can have.
#[test]
fn another_superuser_and_strange_settings() {
    for major in [14, 18] {
        let place = Place::new();
        let server = durable(major);
        server.createdb("shop");
        let marker = place.path("ran");
        server.psql(
            "shop",
            &format!(
                "CREATE TABLE t AS SELECT generate_series(1, 7) AS i;
                 CREATE ROLE helper SUPERUSER LOGIN; CREATE ROLE app;
                 ALTER DATABASE shop SET session_preload_libraries = 'nowhere';
                 ALTER SYSTEM SET archive_mode = 'on';
                 ALTER SYSTEM SET archive_command = 'touch {marker}';
                 ALTER SYSTEM SET shared_preload_libraries = 'pg_cron', 'nowhere'",
                marker = marker.display()
            ),
        );
        let mut rename = server.tool("psql");
        rename.args(["-Xq", "-U", "helper", "-d", "postgres", "-c"]);
        rename.arg("ALTER ROLE postgres RENAME TO \"Shop 'Owner'\"");
        ok(&mut rename);
        let mut drop = server.tool("psql");
        drop.args(["-Xq", "-U", "Shop 'Owner'", "-d", "postgres", "-c", "DROP ROLE helper"]);
        ok(&mut drop);
        let mut lock = server.tool("psql");
        lock.args(["-Xq", "-U", "Shop 'Owner'", "-d", "postgres", "-c"]);
        ok(lock.arg("ALTER ROLE \"Shop 'Owner'\" NOLOGIN"));
        stop(&server);
        copy(&server.socket_dir().join("data"), &place.old());
        for (name, text) in [
            ("pg_hba.conf", "local all all reject\n".to_owned()),
            (
                "postgresql.conf",
                format!(
                    "include 'gone.conf'\nssl = on\nlisten_addresses = '*'\nport = 1\n\
                     recovery_target_time = '2001-01-01'\nrestore_command = 'touch {0}'\n\
                     max_connections = 1000000\nnot_a_setting = 7\nlogging_collector = on\n",
                    marker.display()
                ),
            ),
            ("standby.signal", String::new()),
            ("recovery.signal", String::new()),
        ] {
            std::fs::write(place.old().join(name), text).unwrap();
        }
        std::fs::create_dir(place.old().join("dumps")).unwrap();
        let json = place.json(&place.old(), 0, &["-o", "a.pgark"]);
        assert_eq!(json["server"]["role"], "Shop 'Owner'");
        assert_eq!(json["libraries"], "pg_cron, nowhere");
        assert_eq!(json["left_out"], serde_json::json!(["dumps"]));
        assert_eq!(place.cat("a.pgark", "t").lines().count(), 7);
        assert!(!marker.exists(), "a command of the old server ran");
        let words = place.rescue(&place.old(), &["-o", "b.pgark"]);
        assert!(words.stdout.contains("read as role Shop 'Owner'"), "{}", words.stdout);
    }
}

/// A locale that only the old machine had.
#[test]
fn a_locale_that_is_not_here() {
    let from = ["/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8"].map(Path::new);
    let from = from.into_iter().find(|path| path.exists()).expect("the files of C.UTF-8");
    for major in [14, 18] {
        let place = Place::new();
        let locales = place.path("locales");
        std::fs::create_dir(&locales).unwrap();
        copy(from, &locales.join("tlh_KX.utf8"));
        let server = durable(major);
        let run_as = std::fs::metadata(server.socket_dir()).unwrap().uid();
        let base = tempfile::tempdir().unwrap();
        std::fs::set_permissions(base.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        copy(&locales, &base.path().join("locales"));
        ok(Command::new("chmod").args(["-R", "a+rX"]).arg(base.path().join("locales")));
        // The programs that the server's user can reach.
        let own = server.socket_dir().join("postgresql/bin");
        let bin = if own.exists() { own } else { bin_dir(major) };
        let mut initdb = Command::new(bin.join("initdb"));
        if run_as != 0 && is_root() {
            use std::os::unix::process::CommandExt as _;
            initdb.uid(run_as).gid(run_as).env("HOME", "/nonexistent").current_dir("/");
        }
        initdb.env("LOCPATH", base.path().join("locales")).env_remove("LC_ALL");
        initdb.args([
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=tlh_KX.utf8",
            "-U",
            "shop",
            "-N",
            "-D",
        ]);
        ok(initdb.arg(base.path().join("data")));
        copy(&base.path().join("data"), &place.old());
        let json = place.json(&place.old(), 0, &["--database", "postgres", "-o", "a.pgark"]);
        assert_eq!(json["missing_locales"], serde_json::json!(["tlh_KX.utf8"]));
        assert_eq!(json["server"]["role"], "shop");
    }
}

fn is_root() -> bool {
    ok(Command::new("id").arg("-u")).stdout.trim() == "0"
}

/// Tars that mean harm, or are not whole.
#[test]
fn hostile_and_broken_tars() {
    let place = Place::stopped(17);
    let whole = tar(&place, "v.tar", &["old"]);
    let outside = place.path("outside");
    std::fs::write(&outside, "mine").unwrap();
    let pack = |name: &str, add: &dyn Fn(&mut tar::Builder<std::fs::File>)| {
        // In front: what is there is found later in the file.
        let path = place.path(name);
        let mut builder = tar::Builder::new(std::fs::File::create(&path).unwrap());
        add(&mut builder);
        let mut original = tar::Archive::new(std::fs::File::open(&whole).unwrap());
        for entry in original.entries().unwrap() {
            let entry = entry.unwrap();
            builder.append(&entry.header().clone(), entry).unwrap();
        }
        builder.finish().unwrap();
        path
    };
    let header = |kind: tar::EntryType, size: u64| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o600);
        header
    };
    let up = pack("up.tar", &|builder| {
        let mut header = header(tar::EntryType::Regular, 4);
        header.as_mut_bytes()[..14].copy_from_slice(b"old/../outside");
        header.set_cksum();
        builder.append(&header, &b"evil"[..]).unwrap();
    });
    let ran = place.rescue(&up, &["-o", "a.pgark"]);
    assert_eq!(ran.code, Some(3));
    assert!(ran.stderr.contains("leads out of it"), "{}", ran.stderr);
    // A link out, and a file behind it.
    let link = pack("link.tar", &|builder| {
        let mut link = header(tar::EntryType::Symlink, 0);
        builder.append_link(&mut link, "old/base/evil", place.here.path()).unwrap();
        let mut file = header(tar::EntryType::Regular, 4);
        builder.append_data(&mut file, "old/base/evil/outside", &b"evil"[..]).unwrap();
    });
    let ran = place.rescue(&link, &["-o", "a.pgark"]);
    assert_eq!(ran.code, Some(3), "{}", ran.stdout);
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "mine");
    // Absolute names are names like others; the later of two counts.
    let twice = pack("twice.tar", &|builder| {
        let mut file = header(tar::EntryType::Regular, 4);
        builder.append_data(&mut file, "old/PG_VERSION", &b"evil"[..]).unwrap();
    });
    let json = place.json(&twice, 0, &["-o", "a.pgark"]);
    assert_eq!(json["databases"][1]["archive"]["rows"], 1088);
    ok(Command::new("tar").args(["-Pcf"]).arg(place.path("abs.tar")).arg(place.old()));
    place.json(&place.path("abs.tar"), 0, &["-o", "b.pgark"]);
    place.assert_equal("a.pgark", "b.pgark");
    // A second name of a file, as pg_upgrade --link makes them; here of one outside of the directory.
    let control = place.old().join("global/pg_control");
    std::fs::rename(&control, place.path("a-control")).unwrap();
    std::fs::hard_link(place.path("a-control"), &control).unwrap();
    let hard = tar(&place, "hard.tar", &["a-control", "old"]);
    place.json(&hard, 0, &["-o", "c.pgark"]);
    place.assert_equal("a.pgark", "c.pgark");
    // Cut off, and damaged.
    let bytes = std::fs::read(&whole).unwrap();
    std::fs::write(place.path("cut.tar"), &bytes[..bytes.len() / 1024 * 512]).unwrap();
    let ran = place.rescue(&place.path("cut.tar"), &["-o", "d.pgark"]);
    assert_eq!(ran.code, Some(3), "{}", ran.stdout);
    assert!(!place.path("d.pgark").exists());
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "mine");
}

#[test]
fn nothing_is_written_into_the_original() {
    let place = Place::stopped(17);
    let before = traces(&place.old());
    let inside = place.old().join("a.pgark");
    let ran = place.rescue(&place.old(), &["-o", inside.to_str().unwrap()]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("never written to"), "{}", ran.stderr);
    let folder = place.old().join("all");
    let ran = place.rescue(&place.old(), &["--all", "-o", folder.to_str().unwrap()]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    let work = place.old();
    let ran = place.rescue(&place.old(), &["-o", "a.pgark", "--work", work.to_str().unwrap()]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    let mut here = place.command(&place.old(), &[]);
    assert_eq!(run(here.current_dir(place.old())).code, Some(2));
    assert_eq!(traces(&place.old()), before);
}
