// The files of the page: fetched with their progress, checked, and kept in the browser's cache.

import { ModelError } from "./errors.js";

// Pages of one host share its caches, on GitHub Pages those of all projects of an account.
export const CACHE = `question-tagger ${new URL(".", self.location)}`;

const fullUrl = (name, sha256) => new URL(`${name}?${sha256.slice(0, 16)}`, self.location).href;

// Without HTTPS, as on http://192.168.0.2, a browser gives a page neither a cache nor hashes. In frames and private
// windows, some forbid the cache.
async function openCache() {
  try {
    return await self.caches.open(CACHE);
  } catch {
    return null;
  }
}

/**
 * Return a function that reads a file of the page by its name, from the cache if it is there.
 *
 * @param {{[name: string]: {bytes: number, sha256: string}}} files those of files.json
 * @param {(bytes: number) => void} onBytes called with the number of further bytes that have arrived
 */
export function fileReader(files, onBytes) {
  return async (name) => {
    if (!files[name]) throw new ModelError(`${name} is missing: build the page again`);
    const { bytes, sha256 } = files[name];
    const cache = await openCache();
    const url = fullUrl(name, sha256);
    const kept = await cache?.match(url);
    if (kept) {
      const content = new Uint8Array(await kept.arrayBuffer());
      if (content.length === bytes) {
        onBytes(bytes);
        return content;
      }
    }
    const content = await download(url, name, bytes, onBytes);
    if (content.length !== bytes || (await isOther(content, sha256))) {
      throw new ModelError(`${name} is damaged, or is not the one of files.json: build and copy the page again`);
    }
    // Where the disk is full, the page works all the same.
    await cache?.put(url, new Response(content)).catch(() => {});
    return content;
  };
}

/** Remove from the cache what belongs to an older version of the page. */
export async function forgetOthers(files) {
  const cache = await openCache();
  const known = new Set(Object.entries(files).map(([name, { sha256 }]) => fullUrl(name, sha256)));
  for (const request of (await cache?.keys()) ?? []) {
    if (new URL(request.url).search && !known.has(request.url)) await cache.delete(request);
  }
}

async function download(url, name, bytes, onBytes) {
  let response;
  try {
    response = await fetch(url);
  } catch {
    throw new ModelError(`${name} cannot be loaded: is the server, or the network, away?`);
  }
  if (!response.ok) throw new ModelError(`${name} cannot be loaded: the server answers ${response.status}`);
  const content = new Uint8Array(bytes);
  let arrived = 0;
  const reader = response.body.getReader();
  for (let part = await readPart(reader, name); part; part = await readPart(reader, name)) {
    if (arrived + part.length > bytes) return new Uint8Array(0);
    content.set(part, arrived);
    arrived += part.length;
    onBytes(part.length);
  }
  return content.subarray(0, arrived);
}

async function readPart(reader, name) {
  try {
    return (await reader.read()).value;
  } catch {
    throw new ModelError(`${name} cannot be loaded: the connection was lost`);
  }
}

async function isOther(content, sha256) {
  if (!self.crypto?.subtle) return false;
  const digest = new Uint8Array(await self.crypto.subtle.digest("SHA-256", content));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("") !== sha256;
}
