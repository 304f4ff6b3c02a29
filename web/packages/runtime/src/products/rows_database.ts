/** `catalogue.sqlite` opened for reading, in memory. */

import { type Database, type PreparedStatement, type Sqlite3Static } from "@sqlite.org/sqlite-wasm";

import { BundleFormatError, ModelLoadError, reasonOf } from "../contract/errors.js";
import { CATALOGUE_ROWS_FILE } from "../contract/manifest.js";
import { readySqlite } from "../environment.js";

/** What SQLite takes and gives here. */
export type Value = string | number | null | Uint8Array;

export const ROWS_VERSION = 1;
const CHUNK = 500;

/** Read-only access; statements are prepared once. */
export class RowsDatabase {
  private readonly statements = new Map<string, PreparedStatement>();

  private columns: ReadonlySet<string> | undefined;

  private constructor(
    private readonly sqlite: Sqlite3Static,
    private readonly database: Database,
  ) {}

  /** Return the columns that table `products` has here: a catalogue may lack those that are optional. */
  productColumns(): ReadonlySet<string> {
    this.columns ??= new Set(this.fetch("SELECT name FROM pragma_table_info('products')").map(([name]) => String(name)));
    return this.columns;
  }

  /**
   * Open the bytes of a catalogue.
   *
   * @throws BundleFormatError not an SQLite file, or of another version.
   * @throws ModelLoadError SQLite cannot be loaded here, or has no full-text search.
   */
  static async open(data: Uint8Array): Promise<RowsDatabase> {
    const sqlite = await readySqlite();
    const opened = new RowsDatabase(sqlite, new sqlite.oo1.DB(":memory:"));
    try {
      opened.load(data);
      const version = opened.fetch("PRAGMA user_version")[0]?.[0];
      if (version !== ROWS_VERSION) {
        throw new BundleFormatError(
          `${CATALOGUE_ROWS_FILE} has version ${String(version)}, this runtime reads ${String(ROWS_VERSION)}; update it`,
        );
      }
      opened.fetch("SELECT rowid FROM search LIMIT 0");
    } catch (error) {
      opened.close();
      throw error;
    }
    return opened;
  }

  /** Return every row of a query. */
  fetch(sql: string, parameters: readonly Value[] = []): Value[][] {
    const rows: Value[][] = [];
    this.each(sql, parameters, (statement) => rows.push(statement.get([]) as Value[]));
    return rows;
  }

  /**
   * Call `visit` at every row of a query.
   *
   * @throws BundleFormatError the file is damaged or closed.
   */
  each(sql: string, parameters: readonly Value[], visit: (statement: PreparedStatement) => void): void {
    let statement: PreparedStatement | undefined;
    try {
      statement = this.prepared(sql);
      if (parameters.length > 0) statement.bind([...parameters]);
      while (statement.step()) visit(statement);
    } catch (error) {
      if (/no such module/.test(reasonOf(error))) {
        throw new ModelLoadError("this SQLite has no full-text search (FTS5); install the runtime again");
      }
      throw new BundleFormatError(`cannot read ${CATALOGUE_ROWS_FILE}: ${reasonOf(error)}; get the bundle again`);
    } finally {
      statement?.reset(parameters.length > 0);
    }
  }

  /** Return the rows of `sql`, whose `({})` stands for a list of keys, asked for in portions. */
  fetchByKeys(sql: string, keys: readonly Value[]): Value[][] {
    const rows: Value[][] = [];
    for (let start = 0; start < keys.length; start += CHUNK) {
      const portion = keys.slice(start, start + CHUNK);
      rows.push(...this.fetch(sql.replace("{}", portion.map(() => "?").join(", ")), portion));
    }
    return rows;
  }

  /** Close the file; later calls throw BundleFormatError. */
  close(): void {
    for (const statement of this.statements.values()) statement.finalize();
    this.statements.clear();
    this.database.close();
  }

  private load(data: Uint8Array): void {
    const { capi, wasm } = this.sqlite;
    const pointer = wasm.allocFromTypedArray(data);
    const flags = capi.SQLITE_DESERIALIZE_FREEONCLOSE | capi.SQLITE_DESERIALIZE_READONLY;
    const handle = this.database.pointer;
    if (handle === undefined) throw new BundleFormatError(`${CATALOGUE_ROWS_FILE} is closed`);
    const code = capi.sqlite3_deserialize(handle, "main", pointer, data.length, data.length, flags);
    if (code !== 0) throw new BundleFormatError(`cannot open ${CATALOGUE_ROWS_FILE}; get the bundle again`);
  }

  private prepared(sql: string): PreparedStatement {
    let statement = this.statements.get(sql);
    if (statement === undefined) {
      statement = this.database.prepare(sql);
      this.statements.set(sql, statement);
    }
    return statement;
  }
}
