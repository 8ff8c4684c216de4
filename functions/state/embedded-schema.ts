/** Entry N brings the schema from number N to N + 1. Append only: installations are at every number. */
const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE apps (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    body TEXT NOT NULL,
    is_default INTEGER NOT NULL,
    has_work INTEGER NOT NULL
  );
  CREATE UNIQUE INDEX apps_default ON apps (is_default) WHERE is_default = 1;
  CREATE INDEX apps_with_work ON apps (name) WHERE has_work = 1;

  CREATE TABLE hosts (host TEXT PRIMARY KEY, app TEXT NOT NULL);
  CREATE INDEX hosts_by_app ON hosts (app);

  CREATE TABLE operations (
    key TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    result TEXT NOT NULL,
    expires_at INTEGER NOT NULL
  );
  CREATE INDEX operations_by_expiry ON operations (expires_at);

  CREATE TABLE leases (name TEXT PRIMARY KEY, token TEXT NOT NULL, expires_at INTEGER NOT NULL);
  CREATE INDEX leases_by_expiry ON leases (expires_at);

  CREATE TABLE records (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (kind, id)
  );

  CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT, app TEXT, entry TEXT NOT NULL);
  CREATE INDEX audit_by_app ON audit (app, id);
  `,
  `
  ALTER TABLE records ADD COLUMN version INTEGER;
  CREATE TABLE record_tombstones (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
  );
  CREATE INDEX record_tombstones_by_expiry ON record_tombstones (expires_at);
  `,
  `
  CREATE TABLE record_tags (
    kind TEXT NOT NULL,
    tag TEXT NOT NULL,
    rank REAL NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (kind, tag, rank, id)
  ) WITHOUT ROWID;
  CREATE UNIQUE INDEX record_tags_by_record ON record_tags (kind, id, tag);
  `,
  `
  CREATE TABLE app_tombstones (name TEXT PRIMARY KEY, version INTEGER NOT NULL, expires_at INTEGER NOT NULL);
  CREATE INDEX app_tombstones_by_expiry ON app_tombstones (expires_at);
  `,
];

/** Brings the object's database to the schema that this build knows; throws when it is already past it. */
export function migrate(storage: DurableObjectStorage): void {
  const { sql } = storage;
  storage.transactionSync(() => {
    sql.exec("CREATE TABLE IF NOT EXISTS schema (number INTEGER NOT NULL)");
    const stored = sql.exec<{ number: number }>("SELECT number FROM schema").toArray()[0]?.number;
    const number = stored ?? 0;
    if (number > MIGRATIONS.length) {
      throw new Error(
        `The embedded store has schema ${number} and this build knows ${MIGRATIONS.length}: deploy the newer build again`,
      );
    }
    for (const migration of MIGRATIONS.slice(number)) sql.exec(migration);
    if (stored === undefined) sql.exec("INSERT INTO schema (number) VALUES (?)", MIGRATIONS.length);
    else if (number < MIGRATIONS.length) sql.exec("UPDATE schema SET number = ?", MIGRATIONS.length);
  });
}
