/** The Cache API in memory: what the store uses of it. */

/** The entries of one cache, by address. */
class FakeCache {
  readonly entries = new Map<string, Uint8Array>();

  async match(key: string): Promise<Response | undefined> {
    const found = this.entries.get(key);
    return Promise.resolve(found === undefined ? undefined : new Response(found.slice()));
  }

  async put(key: string, answer: Response): Promise<void> {
    this.entries.set(key, new Uint8Array(await answer.arrayBuffer()));
  }

  async delete(key: string | { url: string }): Promise<boolean> {
    const name = typeof key === "string" ? key : new URL(key.url).pathname;
    return Promise.resolve(this.entries.delete(name));
  }

  async keys(): Promise<{ url: string }[]> {
    return Promise.resolve([...this.entries.keys()].map((key) => ({ url: `https://page.example${key}` })));
  }
}

/** Caches by name. */
export class FakeCaches {
  readonly named = new Map<string, FakeCache>();

  async open(name: string): Promise<FakeCache> {
    const found = this.named.get(name) ?? new FakeCache();
    this.named.set(name, found);
    return Promise.resolve(found);
  }

  /** Return the keys of all entries of all caches. */
  keys(): string[] {
    return [...this.named.values()].flatMap((cache) => [...cache.entries.keys()]);
  }
}
