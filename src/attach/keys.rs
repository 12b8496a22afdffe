//! What `attach` asks of the two keys: one type, one idea of which are equal, and an index each.

use crate::errors::{Code, Fault, Result};
use crate::key::{KeyType, c_string, collate_clause, quote, type_label};
use crate::pair::{Table, resolve};
use crate::session::pin_path;
use crate::spi::Spi;
use pgrx::pg_sys::{self, Datum, Oid};

/// A key column.
struct Key<'a> {
    table: &'a Table,
    column: &'a str,
    oid: Oid,
    collation: Oid,
    key: KeyType,
}

impl<'a> Key<'a> {
    fn of(table: &'a Table, role: &str, column: &'a str) -> Result<Key<'a>> {
        let (_, oid, _, collation) = resolve::required(table, role, column)?;
        Ok(Key { table, column, oid, collation, key: KeyType::of(oid, collation)? })
    }

    fn table_name(&self) -> String {
        resolve::relation_name(self.table.oid)
    }

    /// Does it take equal bytes for equal keys, and no others?
    fn is_by_bytes(&self) -> bool {
        // SAFETY: catalog look-up of the column's collation.
        self.collation == pg_sys::InvalidOid || unsafe { pg_sys::get_collation_isdeterministic(self.collation) }
    }

    /// An answer of one text to a query about this column: `$1` is the table, `$2` the column's name.
    fn ask(&self, sql: &str) -> Result<Option<String>> {
        let _path = pin_path();
        let spi = Spi::connect()?;
        let args = [Some(Datum::from(self.table.oid)), name(self.column)];
        Ok(spi.once(sql, &[pg_sys::OIDOID, pg_sys::NAMEOID], &args)?.string(0, 0))
    }

    fn missing(&self, what: &str, hint: String) -> Fault {
        Fault::new(Code::NotReady, format!("table {} has no {what} \"{}\"", self.table_name(), self.column), hint)
    }
}

/// A `name` value.
fn name(text: &str) -> Option<Datum> {
    let bytes = crate::encoding::to_server(text);
    // SAFETY: a NameData is 64 bytes, of which as many are copied as a name may have; the rest is zero.
    unsafe {
        let name = pg_sys::palloc0(pg_sys::NAMEDATALEN as usize).cast::<u8>();
        let length = bytes.len().min(pg_sys::NAMEDATALEN as usize - 1);
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), name, length);
        Some(Datum::from(name))
    }
}

/// Checks that the keys fit each other, that the message key has a unique index, and the log key any.
pub fn check(messages: &Table, message_key: &str, log: &Table, log_key: &str) -> Result<()> {
    let m = Key::of(messages, "message_key", message_key)?;
    let l = Key::of(log, "log_key", log_key)?;
    if m.key.oid() != l.key.oid() {
        return Err(Fault::new(
            Code::WrongType,
            format!(
                "the key \"{message_key}\" of messages is {}, the key \"{log_key}\" of the log is {}",
                type_label(m.oid),
                type_label(l.oid)
            ),
            "Both keys need the same type: convert the log's column with ALTER TABLE ... ALTER COLUMN ... TYPE.",
        ));
    }
    for key in [&m, &l] {
        not_virtual(key)?;
    }
    if m.collation != l.collation && !(m.is_by_bytes() && l.is_by_bytes()) {
        return Err(Fault::new(
            Code::WrongType,
            format!(
                "the key \"{message_key}\" of messages has{}, the key \"{log_key}\" of the log{}",
                collate_clause(m.collation).replace("COLLATE", "collation"),
                collate_clause(l.collation).replace("COLLATE", "collation")
            ),
            format!(
                "They would not agree which keys are equal. Compare the log's as the messages': ALTER TABLE {} ALTER COLUMN {} \
                 TYPE {}{};",
                l.table_name(),
                quote(log_key),
                declared_type(&l),
                collate_clause(m.collation)
            ),
        ));
    }
    if !has_index(&m, true)? {
        return Err(m.missing("unique index on its key", unique_index(&m)?));
    }
    if !has_index(&l, false)? {
        return Err(l.missing("index on its key", format!("Create it, then attach: {}", create_index(&l, "INDEX", ""))));
    }
    Ok(())
}

/// A key's type as its column declares it.
fn declared_type(key: &Key) -> String {
    let modifier = resolve::attribute(key.table.oid, key.column).map_or(-1, |(_, _, modifier, _)| modifier);
    // SAFETY: gives a palloc'd C string for any type.
    unsafe { c_string(pg_sys::format_type_with_typemod(key.oid, modifier)) }
}

/// A generated column that is not stored can have no index (PostgreSQL 18).
fn not_virtual(key: &Key) -> Result<()> {
    let stored = key.ask(
        "SELECT pg_catalog.format('ALTER TABLE %s DROP COLUMN %I, ADD COLUMN %I %s GENERATED ALWAYS AS (%s) STORED;',
                    a.attrelid::pg_catalog.regclass, a.attname, a.attname,
                    pg_catalog.format_type(a.atttypid, a.atttypmod), pg_catalog.pg_get_expr(d.adbin, d.adrelid))
           FROM pg_catalog.pg_attribute a
           JOIN pg_catalog.pg_attrdef d
             ON d.adrelid OPERATOR(pg_catalog.=) a.attrelid AND d.adnum OPERATOR(pg_catalog.=) a.attnum
          WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attname OPERATOR(pg_catalog.=) $2
            AND a.attgenerated OPERATOR(pg_catalog.=) 'v'",
    )?;
    stored.map_or(Ok(()), |ddl| {
        Err(key.missing(
            "index on its virtual generated column",
            format!("None can be made. Store the column, then attach: {ddl}"),
        ))
    })
}

/// How to make the unique index of a messages table. PostgreSQL wants the columns in it that the table is partitioned by.
fn unique_index(key: &Key) -> Result<String> {
    let by = partitioned_by(key)?;
    if by.expressions {
        return Ok("PostgreSQL makes none on a table that is partitioned by an expression: partition it by columns."
            .to_owned());
    }
    let others: String = by.columns.iter().filter(|c| *c != key.column).map(|c| format!(", {}", quote(c))).collect();
    Ok(format!("Create it, then attach: {}", create_index(key, "UNIQUE INDEX", &others)))
}

/// What a table and its partitions are partitioned by.
struct PartitionedBy {
    columns: Vec<String>,
    expressions: bool,
}

fn partitioned_by(key: &Key) -> Result<PartitionedBy> {
    let spi = Spi::connect()?;
    let rows = spi.once(
        "SELECT a.attname::pg_catalog.text
           FROM pg_catalog.pg_partition_tree($1) t
           JOIN pg_catalog.pg_partitioned_table p ON p.partrelid OPERATOR(pg_catalog.=) t.relid
          CROSS JOIN pg_catalog.unnest(p.partattrs::pg_catalog.int2[]) WITH ORDINALITY AS k(attnum, place)
           LEFT JOIN pg_catalog.pg_attribute a
             ON a.attrelid OPERATOR(pg_catalog.=) p.partrelid AND a.attnum OPERATOR(pg_catalog.=) k.attnum
            AND k.attnum OPERATOR(pg_catalog.>) 0
          GROUP BY a.attname ORDER BY pg_catalog.min(t.level), pg_catalog.min(k.place)",
        &[pg_sys::OIDOID],
        &[Some(Datum::from(key.table.oid))],
    )?;
    let columns: Vec<Option<String>> = (0..rows.len()).map(|i| rows.string(i, 0)).collect();
    Ok(PartitionedBy { expressions: columns.contains(&None), columns: columns.into_iter().flatten().collect() })
}

fn create_index(key: &Key, what: &str, others: &str) -> String {
    // CONCURRENTLY spares writers; a partitioned table has no such thing.
    let how = if key.table.partitioned { "" } else { " CONCURRENTLY" };
    format!("CREATE {what}{how} ON {} ({}{others});", key.table_name(), quote(key.column))
}

/// Is there a valid index that leads to a row by this column, compared as the column is? A unique one may have the columns
/// beside it that the table is partitioned by, as PostgreSQL asks of partitioned tables, and may leave out NULLs.
fn has_index(key: &Key, unique: bool) -> Result<bool> {
    let by = partitioned_by(key)?;
    let spi = Spi::connect()?;
    let sql = "
        SELECT 1
          FROM pg_catalog.pg_index i
          JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) i.indrelid
           AND a.attnum OPERATOR(pg_catalog.=) i.indkey[0] AND a.attname OPERATOR(pg_catalog.=) $2
          JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid
          JOIN pg_catalog.pg_am m ON m.oid OPERATOR(pg_catalog.=) c.relam
         WHERE i.indrelid OPERATOR(pg_catalog.=) $1 AND i.indisvalid
           AND i.indcollation[0] OPERATOR(pg_catalog.=) a.attcollation
           AND m.amname OPERATOR(pg_catalog.<>) ALL ('{brin,gin}')
           AND (i.indpred IS NULL OR pg_catalog.pg_get_expr(i.indpred, i.indrelid)
                OPERATOR(pg_catalog.=) pg_catalog.format('(%I IS NOT NULL)', a.attname))
           AND (NOT $3 OR i.indisunique AND i.indimmediate
                AND NOT EXISTS (SELECT FROM pg_catalog.generate_series(1, i.indnkeyatts OPERATOR(pg_catalog.-) 1) k
                                 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_attribute o
                                                    WHERE o.attrelid OPERATOR(pg_catalog.=) i.indrelid
                                                      AND o.attnum OPERATOR(pg_catalog.=) i.indkey[k]
                                                      AND o.attname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($4))))";
    let columns = crate::poll::claim::text_array(by.columns.iter().map(String::as_str));
    let rows = spi.once(
        sql,
        &[pg_sys::OIDOID, pg_sys::NAMEOID, pg_sys::BOOLOID, pg_sys::TEXTARRAYOID],
        &[Some(Datum::from(key.table.oid)), name(key.column), Some(Datum::from(unique)), Some(columns)],
    )?;
    Ok(!rows.is_empty())
}
