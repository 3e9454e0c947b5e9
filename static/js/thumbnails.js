/** Small pictures, fetched (with the key) when they come near the screen, a few at a time; given back at the end. */

import { ApiError, isAbort, picture } from "./api.js";

const AT_ONCE = 4;
const NEAR = "300px";

/**
 * @typedef {{taskId: string, number: number, size: number, show: (address: string) => void, fail: () => void}} Wanted
 */

export class Thumbnails {
  constructor() {
    /** @type {Map<Element, Wanted>} */
    this.waiting = new Map();
    /** @type {Wanted[]} */
    this.queue = [];
    /** @type {string[]} */
    this.addresses = [];
    this.running = 0;
    this.stopped = new AbortController();
    this.observer = new IntersectionObserver((entries) => this.see(entries), { rootMargin: NEAR });
  }

  /** @param {Element} place @param {Wanted} wanted */
  add(place, wanted) {
    this.waiting.set(place, wanted);
    this.observer.observe(place);
  }

  /** Forgets all, and frees what was loaded. */
  clear() {
    this.observer.disconnect();
    this.stopped.abort();
    this.stopped = new AbortController();
    this.waiting.clear();
    this.queue = [];
    this.addresses.forEach((address) => URL.revokeObjectURL(address));
    this.addresses = [];
  }

  /** @param {IntersectionObserverEntry[]} entries */
  see(entries) {
    for (const entry of entries) {
      const wanted = this.waiting.get(entry.target);
      if (!entry.isIntersecting || !wanted) continue;
      this.observer.unobserve(entry.target);
      this.waiting.delete(entry.target);
      this.queue.push(wanted);
    }
    this.next();
  }

  next() {
    while (this.running < AT_ONCE && this.queue.length) {
      const wanted = /** @type {Wanted} */ (this.queue.shift());
      this.running += 1;
      void this.load(wanted).finally(() => {
        this.running -= 1;
        this.next();
      });
    }
  }

  /** @param {Wanted} wanted */
  async load(wanted) {
    const signal = this.stopped.signal;
    try {
      const { blob } = await picture(wanted.taskId, wanted.number, { size: wanted.size, signal });
      if (signal.aborted) return;
      const address = URL.createObjectURL(blob);
      this.addresses.push(address);
      wanted.show(address);
    } catch (error) {
      if (isAbort(error)) return;
      if (!(error instanceof ApiError)) throw error;
      wanted.fail();
    }
  }
}
