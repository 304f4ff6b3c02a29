/** The answers that were asked for last: what `functools.lru_cache` is to the reference. */
/** Keeps `limit` values by key and forgets those that were used longest ago. */
export class Remembered {
    limit;
    values = new Map();
    constructor(limit) {
        this.limit = limit;
    }
    /** Return the value of `key`; `make` gives it when it is not known. */
    get(key, make) {
        const known = this.values.has(key);
        const value = known ? this.values.get(key) : make();
        if (known)
            this.values.delete(key);
        else if (this.values.size >= this.limit)
            this.values.delete(this.values.keys().next().value);
        this.values.set(key, value);
        return value;
    }
}
