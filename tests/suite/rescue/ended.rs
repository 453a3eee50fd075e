//! However it ends, nothing is left behind, but what was asked for.

use super::*;

#[test]
fn a_copy_that_is_kept() {
    let place = Place::stopped(17);
    let ran = run(&mut place.command(&place.old(), &["-o", "a.pgark", "--keep"]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let told = |begins: &str| {
        let line = ran.stdout.lines().find(|line| line.trim_start().starts_with(begins));
        line.unwrap_or_else(|| panic!("no {begins} in {}", ran.stdout)).trim().to_owned()
    };
    let shell = |command: &str| ok(Command::new("sh").arg("-c").arg(command)).stdout;
    let psql = format!("{}/{}", bin_dir(17).display(), told("psql").replace("-l", "-d shop"));
    assert_eq!(shell(&format!("{psql} -Atc 'SELECT count(*) FROM image'")).trim(), "123");
    shell(&told("kill"));
    place.work.assert_clean_soon("kept");
}

/// What ends it by a signal, after a part of the time that the whole takes.
fn ended_early(name: &str, moments: u32) -> (u32, Vec<Option<i32>>) {
    let place = Place::stopped(17);
    let begun = Instant::now();
    assert_eq!(place.rescue(&place.old(), &["-o", "whole.pgark"]).code, Some(0));
    let whole = begun.elapsed();
    let before = traces(&place.old());
    let (mut early, mut codes) = (0, Vec::new());
    for moment in 0..moments {
        let mut command = place.command(&place.old(), &["-o", "a.pgark"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole * moment / moments + Duration::from_millis(20));
        early += u32::from(!place.work.left().is_empty());
        ok(Command::new("kill").args([name, &child.id().to_string()]));
        codes.push(child.wait().unwrap().code());
        place.work.assert_clean_soon(&format!("{name} after {moment}/{moments}"));
        // Killed behind the last step, it had given the file its name: then that is whole.
        let made = place.path("a.pgark");
        match codes.last() {
            Some(Some(0)) => {}
            Some(None) if made.exists() => {
                ok(Command::new(PGARK).arg("verify").arg(&made));
            }
            _ => assert!(!made.exists(), "{name} after {moment}/{moments}"),
        }
        _ = std::fs::remove_file(place.path("a.pgark"));
    }
    assert_eq!(traces(&place.old()), before);
    (early, codes)
}

#[test]
fn killed_at_any_moment() {
    let (there, codes) = ended_early("-KILL", 10);
    assert!(there > 0, "its copy was there only {there} times when it was killed");
    assert!(codes.iter().filter(|code| code.is_none()).count() > 0, "{codes:?}");
}

#[test]
fn interrupted_at_any_moment() {
    let (there, codes) = ended_early("-INT", 10);
    assert!(there > 0, "its copy was there only {there} times when it was interrupted");
    let interrupted = codes.iter().filter(|code| **code == Some(130)).count();
    // Before it listens, a signal ends it as it ends any program.
    let sane = codes.iter().all(|code| matches!(code, None | Some(0 | 130)));
    assert!(interrupted > 0 && sane, "{codes:?}");
}
