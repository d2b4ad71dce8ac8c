/** The requests under way, and objects for those to come. */
import { Sampler } from '../../latencies.js';
import type { Fid } from './fid.js';
import { Request } from './request.js';

export class ActiveRequests {
  readonly #all: Request[] = [];
  readonly #pool: Request[] = [];
  readonly #sampler = new Sampler();

  get count(): number {
    return this.#all.length;
  }

  [Symbol.iterator](): IterableIterator<Request> {
    return this.#all.values();
  }

  /** All of them as they are now, for who changes them meanwhile. */
  copy(): Request[] {
    return [...this.#all];
  }

  /** Those that use the fid, as they are now. */
  of(fid: Fid): Request[] {
    return this.#all.filter((r) => r.fid === fid);
  }

  /** One more, of `generation`. */
  add(generation: number): Request {
    const r = this.#pool.pop() ?? new Request();
    r.generation = generation;
    r.begunMs = this.#sampler.begin();
    r.slot = this.#all.length;
    this.#all.push(r);
    return r;
  }

  /** It is over: its object will be another one's. */
  retire(r: Request): void {
    const last = this.#all.pop();
    if (last !== undefined && last !== r) {
      this.#all[r.slot] = last;
      last.slot = r.slot;
    }
    r.end();
    this.#pool.push(r);
  }

  /** The one with the tag, of the same session as `except`, and another than that. */
  find(tag: number, except: Request): Request | undefined {
    for (const other of this.#all)
      if (other !== except && other.message.tag === tag && other.generation === except.generation)
        return other;
    return undefined;
  }
}
