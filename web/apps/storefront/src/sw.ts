/**
 * The service worker: after the first visit the page opens without a network.
 *
 * It keeps the page's own files. Bundles are kept by the page itself (bundle_store.ts), and the server's API is never
 * answered from here.
 */

declare const self: ServiceWorkerGlobalScope;

/** The build writes the real values here (scripts/finish_build.mjs). */
const VERSION: string = "__VERSION__";
const FILES = "__FILES__" as unknown as readonly string[];

const PREFIX = "pocketrec-page:";
const PAGE = "index.html";

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(activate()));
self.addEventListener("fetch", (event) => {
  const name = fileOf(event.request);
  if (name !== null) event.respondWith(answer(event.request, name));
});

async function install(): Promise<void> {
  const cache = await caches.open(PREFIX + VERSION);
  await cache.addAll(FILES.map((name) => new Request(name, { cache: "no-cache" })));
  await self.skipWaiting();
}

async function activate(): Promise<void> {
  const old = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== PREFIX + VERSION);
  await Promise.all(old.map((name) => caches.delete(name)));
  await self.clients.claim();
}

/** Return which of the page's files is asked for, or null when it is none of them. */
function fileOf(request: Request): string | null {
  if (request.method !== "GET" || !request.url.startsWith(self.registration.scope)) return null;
  const name = new URL(request.url).pathname.slice(new URL(self.registration.scope).pathname.length);
  if (name === "") return PAGE;
  return FILES.includes(name) ? name : null;
}

async function answer(request: Request, name: string): Promise<Response> {
  const cache = await caches.open(PREFIX + VERSION);
  const kept = await cache.match(new URL(name, self.registration.scope).href);
  return kept ?? fetch(request);
}

export {};
