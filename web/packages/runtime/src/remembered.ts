/** The answers that were asked for last: what `functools.lru_cache` is to the reference. */

/** Keeps `limit` values by key and forgets those that were used longest ago. */
export class Remembered<T> {
  private readonly values = new Map<string, T>();

  constructor(private readonly limit: number) {}

  /** Return the value of `key`; `make` gives it when it is not known. */
  get(key: string, make: () => T): T {
    const known = this.values.has(key);
    const value = known ? (this.values.get(key) as T) : make();
    if (known) this.values.delete(key);
    else if (this.values.size >= this.limit) this.values.delete(this.values.keys().next().value as string);
    this.values.set(key, value);
    return value;
  }
}
