/** The answers that were asked for last: what `functools.lru_cache` is to the reference. */
/** Keeps `limit` values by key and forgets those that were used longest ago. */
export declare class Remembered<T> {
    private readonly limit;
    private readonly values;
    constructor(limit: number);
    /** Return the value of `key`; `make` gives it when it is not known. */
    get(key: string, make: () => T): T;
}
