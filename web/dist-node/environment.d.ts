/** Where this code runs, and how the two WASM runtimes are loaded there: a browser's page or worker, or Node. */
import { type Sqlite3Static } from "@sqlite.org/sqlite-wasm";
/**
 * LiteRT without relaxed SIMD, whose rounding differs between processors: the same query gives the same vector everywhere.
 */
export declare const LITERT_SCRIPT = "litert_wasm_compat_internal.js";
export declare const SQLITE_WASM = "sqlite3.wasm";
/** Whether this is Node. */
export declare function isNode(): boolean;
/**
 * Say where the two `.wasm` files and LiteRT's script lie; a page calls it once, before the first bundle is opened.
 *
 * By default they are looked for in `wasm/` beside this module; in Node, in the installed packages.
 */
export declare function setWasmFolder(url: string): void;
/**
 * Load LiteRT once.
 *
 * @throws ModelLoadError it cannot be loaded here.
 */
export declare function readyLiteRt(): Promise<void>;
/**
 * Load SQLite once.
 *
 * @throws ModelLoadError it cannot be loaded here.
 */
export declare function readySqlite(): Promise<Sqlite3Static>;
