//! Rules on a real database: the archive carries them, and a reference that only they know, once
//! broken, is told with its row.

use crate::PGARK;
use crate::roundtrip::load_sample;
use crate::support::{Server, ok, root};

#[test]
fn the_samples_rules_hold_and_break() {
    let server = Server::shared(16);
    let source = server.database("rules");
    load_sample(server, &source);
    let rules = root().join("fixtures/sample/pgark.toml");
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = (dir.path().join("good.pgark"), dir.path().join("bad.pgark"));
    let create = |file: &std::path::Path| {
        let mut command = server.pgark(PGARK);
        command.args(["create", &server.url(&source), "--json", "-o"]).arg(file);
        command.arg("--rules").arg(&rules);
        command
    };
    ok(&mut create(&good));
    let verified = ok(server.pgark(PGARK).args(["verify", "--strict"]).arg(&good)).stdout;
    assert!(verified.contains("all decode"), "{verified}");
    let shown = ok(server.pgark(PGARK).arg("inspect").arg(&good)).stdout;
    assert!(shown.contains("(imageId) to public.image (fileId)"), "{shown}");
    // What is proposed can be used as it is, and holds.
    let text = ok(server.pgark(PGARK).args(["rules", "suggest"]).arg(&good)).stdout;
    assert!(text.contains("references = \"public.image.fileId\""), "{text}");
    assert!(text.contains("media_type = \"mimeType\""), "{text}");
    assert!(text.contains("algorithm = \"md5\""), "{text}");
    assert!(!text.contains("template_translation_old\"\ncolumn = \"imageId\""), "{text}");
    let file = dir.path().join("draft.toml");
    std::fs::write(&file, &text).unwrap();
    ok(server.pgark(PGARK).args(["verify", "--strict"]).arg(&good).arg("--rules").arg(&file));

    server.psql(
        &source,
        "UPDATE \"user\" SET \"imageId\" = 'gone' WHERE id = 5;
         UPDATE image SET \"mimeType\" = 'image/bmp' WHERE id = 3;
         UPDATE image SET file = substr(file, 1, length(file) - 40) WHERE id = 4",
    );
    let made = create(&bad).output().unwrap();
    assert_eq!(made.status.code(), Some(1), "{}", String::from_utf8_lossy(&made.stderr));
    let told = server.pgark(PGARK).args(["verify", "--json"]).arg(&bad).output().unwrap();
    assert_eq!(told.status.code(), Some(1));
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let told: Vec<_> = told["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (finding["code"].as_str().unwrap(), finding["key"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [("E610", "id = 5"), ("E702", "id = 3"), ("E703", "id = 4"), ("E704", "id = 4")]
    );
    // What was wrong in the source is no reason to keep it from being restored, and is told.
    let target = server.database("restored");
    let mut restore = server.pgark(PGARK);
    let restored =
        restore.arg("restore").arg(&bad).args(["--to", &server.url(&target)]).output().unwrap();
    assert_eq!(restored.status.code(), Some(0), "{}", String::from_utf8_lossy(&restored.stderr));
    let words = String::from_utf8(restored.stdout).unwrap();
    assert!(words.contains("restored as it was: see pgark verify"), "{words}");
    assert_eq!(
        server.psql(&target, "SELECT count(*) FROM image"),
        server.psql(&source, "SELECT count(*) FROM image")
    );
    // A rule about what is not there stops create; nothing is left behind.
    let wrong = dir.path().join("wrong.toml");
    std::fs::write(&wrong, "\n[[count]]\ntable = 'nothing'\nat_least = 1\n").unwrap();
    let none = dir.path().join("none.pgark");
    let mut command = server.pgark(PGARK);
    command.args(["create", &server.url(&source), "-o"]).arg(&none).arg("--rules").arg(&wrong);
    let refused = command.output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(words.contains("line 3: there is no table for \"nothing\""), "{words}");
    assert!(!none.exists());
}
