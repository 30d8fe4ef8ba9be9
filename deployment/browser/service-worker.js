// Lets the page start without its server: small files come from the server if it answers, else from the cache.
// The large ones, whose URLs name their content, are put into the same cache by files.js.

const CACHE = `question-tagger ${self.registration.scope}`;
const SMALL = ["./", "page.js", "colours.css", "form.css", "answer.css", "page.css", "favicon.svg", "files.json"];

self.addEventListener("install", (event) => event.waitUntil(keepSmallFiles().then(() => self.skipWaiting())));
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

async function keepSmallFiles() {
  const cache = await caches.open(CACHE);
  await cache.addAll(SMALL.map((name) => new Request(name, { cache: "no-cache" })));
  const { files } = await (await cache.match("files.json")).json();
  await cache.add(`worker.js?${files["worker.js"].sha256.slice(0, 16)}`);
}

self.addEventListener("fetch", (event) => {
  const { method, mode, url } = event.request;
  if (method !== "GET" || !url.startsWith(self.registration.scope)) return;
  const namesContent = new URL(url).search && mode !== "navigate"; // hosts add parameters of their own to a page's URL
  event.respondWith(namesContent ? keptFirst(event.request) : freshFirst(event.request));
});

async function keptFirst(request) {
  const cache = await caches.open(CACHE);
  return (await cache.match(request)) ?? fetch(request);
}

async function freshFirst(request) {
  const cache = await caches.open(CACHE);
  try {
    const response = await fetch(request, { cache: "no-cache" });
    if (response.ok && !new URL(request.url).search) await cache.put(request, response.clone());
    return response;
  } catch (error) {
    const kept = await cache.match(request, { ignoreSearch: true });
    if (kept) return kept;
    throw error;
  }
}
