import { RECORDS_EXAMINED, type RecordIndex, type RecordTags } from "./store.ts";

/** The embedded store's index of records by tags; its caller's transactions keep it together with the records. */
export class EmbeddedIndex {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Undefined takes the record out. */
  put(kind: string, id: string, index: RecordIndex | undefined): void {
    this.#sql.exec("DELETE FROM record_tags WHERE kind = ? AND id = ?", kind, id);
    if (!index) return;
    this.#sql.exec(
      "INSERT OR IGNORE INTO record_tags (kind, tag, rank, id) SELECT ?, value, ?, ? FROM json_each(?)",
      kind,
      index.rank,
      id,
      JSON.stringify(index.tags),
    );
  }

  find(kind: string, tags: RecordTags, limit: number): { id: string; body: string }[] {
    return this.#sql
      .exec<{ id: string; body: string }>(
        `SELECT records.id, records.body FROM
           (SELECT id, rank FROM record_tags WHERE kind = ? AND tag = ? ORDER BY rank, id LIMIT ?) AS found
           JOIN records ON records.kind = ? AND records.id = found.id
         WHERE NOT EXISTS (SELECT 1 FROM json_each(?) AS wanted WHERE NOT EXISTS
           (SELECT 1 FROM record_tags WHERE kind = ? AND id = found.id AND tag = wanted.value))
         ORDER BY found.rank, found.id LIMIT ?`,
        kind,
        this.#rarest(kind, tags),
        RECORDS_EXAMINED,
        kind,
        JSON.stringify(tags),
        kind,
        limit,
      )
      .toArray();
  }

  #rarest(kind: string, [first, ...others]: RecordTags): string {
    if (others.length === 0) return first;
    const counted = [first, ...others].map((tag) => ({ tag, rows: this.#count(kind, tag) }));
    return counted.reduce((least, one) => (one.rows < least.rows ? one : least)).tag;
  }

  #count(kind: string, tag: string): number {
    return this.#sql
      .exec<{ rows: number }>(
        "SELECT count(*) AS rows FROM (SELECT 1 FROM record_tags WHERE kind = ? AND tag = ? LIMIT ?)",
        kind,
        tag,
        RECORDS_EXAMINED,
      )
      .one().rows;
  }
}
