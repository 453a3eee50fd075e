//! Rows in parts, in slices, and each once.

use super::*;

/// Guards against rows that are too big to be sent being lost, read twice or cut.
#[test]
fn big_rows_and_large_objects_come_in_slices() {
    for major in [14, 18] {
        let server = Server::shared(major);
        let db = server.database("large");
        server.psql(&db, LARGE);
        block_on(async {
            let snapshot = Snapshot::take(&params(server, &db), WAIT).await.unwrap();
            let catalog = snapshot.read_catalog().await.unwrap();
            let session = snapshot.join().await.unwrap();
            let parts = plan(&catalog);
            let (big, small): (Vec<_>, Vec<_>) =
                parts.iter().partition(|p| p.rows == PartRows::Big);
            let table = &catalog.tables[0];
            let mut text = Vec::new();
            for part in small {
                text.extend(copy_text(&session, table, part).await);
            }
            assert_eq!(
                String::from_utf8(text).unwrap(),
                "1\t\\\\x01\tone\t\\N\n3\t\\N\t\\N\t\\\\x\n"
            );
            let mut rows = BigRows::open(&session, table, big[0]).await.unwrap();
            assert_eq!(rows.len(), 2);
            let mut lengths = Vec::new();
            while let Some(row) = rows.next().await.unwrap() {
                let BigField::Bytea(length) = row.fields[1] else { panic!() };
                let mut read = Vec::new();
                while (read.len() as u64) < length {
                    read.extend(rows.slice(&row, 1, read.len() as u64).await.unwrap());
                }
                let expected: Vec<u8> = if row.fields[0] == BigField::Text(b"2".to_vec()) {
                    [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef].repeat(5_242_880)
                } else {
                    vec![0; 20_000_000]
                };
                assert!(read == expected);
                lengths.push((length, row.fields[2].clone(), row.fields[3].clone()));
            }
            assert_eq!(
                lengths,
                [
                    (41_943_040, BigField::Text(b"two\t".to_vec()), BigField::Bytea(1)),
                    (20_000_000, BigField::Text(b"four".to_vec()), BigField::Bytea(15_000_000)),
                ][..]
            );

            // Made after the snapshot: not ours.
            server.psql(&db, "SELECT lo_create(1500)");
            assert_eq!(count_large_objects(&session).await.unwrap(), 3);
            let found = large_objects(&session, 0).await.unwrap();
            let facts: Vec<_> = found.iter().map(|o| (o.oid, o.head.len(), o.complete)).collect();
            assert_eq!(facts, [(1000, 2, true), (2000, 65_536, false), (3000, 0, true)]);
            assert_eq!(found[0].comment.as_deref(), Some("it's"));
            assert!(
                found[0].acl.as_deref().unwrap().contains("=r/postgres") && found[1].acl.is_none()
            );
            assert_eq!(
                read_large_object(&session, 2000, 65_536, 1 << 20).await.unwrap().len(),
                4464
            );
            assert!(large_objects(&session, 3000).await.unwrap().is_empty());
        });
    }
}

/// Guards against block ranges that lose rows or give them twice on a real heap with TOAST.
#[test]
fn parts_give_every_row_once_and_in_order() {
    let server = Server::shared(15);
    let db = server.database("parts");
    server.psql(&db, "CREATE SCHEMA s; CREATE TABLE s.wide (id int, file bytea);
        ALTER TABLE s.wide ALTER file SET STORAGE EXTERNAL;
        INSERT INTO s.wide SELECT g, decode(repeat('0f', 500000), 'hex') FROM generate_series(1, 400) g;
        DELETE FROM s.wide WHERE id % 50 = 0; CREATE INDEX ON s.wide (id);");
    block_on(async {
        let snapshot = Snapshot::take(&params(server, &db), WAIT).await.unwrap();
        server.psql(&db, "INSERT INTO s.wide VALUES (0, '')");
        let catalog = snapshot.read_catalog().await.unwrap();
        let session = snapshot.join().await.unwrap();
        let parts = plan(&catalog);
        assert!(parts.len() >= 3, "{parts:?}");
        let mut ids = Vec::new();
        for part in parts.iter().filter(|part| part.rows == PartRows::Binary) {
            let sql = copy_sql(&catalog.tables[0], part);
            let mut copy = CopyOut::binary(&session, &sql).await.unwrap();
            while let Some(run) = copy.next(1 << 16).await.unwrap() {
                let mut tuples = tuple::Tuples::new(&run, 2);
                let mut fields = Vec::new();
                while tuples.next_into(&mut fields).unwrap() {
                    ids.push(
                        std::str::from_utf8(fields[0].unwrap()).unwrap().parse::<i32>().unwrap(),
                    );
                }
            }
        }
        assert_eq!(ids, (1..=400).filter(|id| id % 50 != 0).collect::<Vec<_>>());
    });
}
