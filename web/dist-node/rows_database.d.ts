/** `catalogue.sqlite` opened for reading, in memory (edge_runtime/rows_database.py). */
import { type PreparedStatement } from "@sqlite.org/sqlite-wasm";
/** What SQLite takes and gives here. */
export type Value = string | number | null | Uint8Array;
export declare const ROWS_VERSION = 1;
/** Read-only access; statements are prepared once. */
export declare class RowsDatabase {
    private readonly sqlite;
    private readonly database;
    private readonly statements;
    private constructor();
    /**
     * Open the bytes of a catalogue.
     *
     * @throws BundleFormatError not an SQLite file, or of another version.
     * @throws ModelLoadError SQLite cannot be loaded here, or has no full-text search.
     */
    static open(data: Uint8Array): Promise<RowsDatabase>;
    /** Return every row of a query. */
    fetch(sql: string, parameters?: readonly Value[]): Value[][];
    /**
     * Call `visit` at every row of a query.
     *
     * @throws BundleFormatError the file is damaged or closed.
     */
    each(sql: string, parameters: readonly Value[], visit: (statement: PreparedStatement) => void): void;
    /** Return the rows of `sql`, whose `({})` stands for a list of keys, asked for in portions. */
    fetchByKeys(sql: string, keys: readonly Value[]): Value[][];
    /** Close the file; later calls throw BundleFormatError. */
    close(): void;
    private load;
    private prepared;
}
