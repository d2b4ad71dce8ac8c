/**
 * A guest whose server is killed at chosen steps of its journal, over a directory of the host. It sends one request after the other,
 * and gives the next server again what was not answered.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vi } from 'vitest';
import { HostDirectory } from '../../../../../devices/9p/fs/host-directory/host-directory.js';
import { RecordKind } from '../../../../../devices/9p/server/journal/record.js';
import type { RequestOrigin } from '../../../../../devices/9p/server/request.js';
import type { Random } from '../../../../support/random.js';
import { Sender } from '../support/client.js';
import { Reply } from '../support/wire.js';
import { MemoryStore } from './memory-store.js';

/** A step of a journal: just before a record is whole, or just after. */
export type Step = 'before' | 'after';
/** Asked at every step: true kills the server there. */
export type Killer = (step: Step) => boolean;

export class KilledGuest {
  readonly directory: string;
  /** Servers that were killed. */
  kills = 0;
  readonly #base: string;
  readonly #random: Random;
  #client: Sender | undefined;
  #store = new MemoryStore();
  #left: MemoryStore | undefined;
  #number = 0;

  constructor(random: Random) {
    this.#random = random;
    this.#base = mkdtempSync(join(tmpdir(), 'chassis-killed-'));
    this.directory = join(this.#base, 'export');
    mkdirSync(this.directory);
  }

  get log(): readonly string[] {
    return this.#client?.log ?? [];
  }

  async begin(): Promise<void> {
    this.#client = new Sender(await HostDirectory.open(this.directory), {}, this.#store);
    await this.#client.server.recover();
  }

  /** The reply, of whichever server. */
  async call(message: Uint8Array, killer: Killer = () => false): Promise<Reply> {
    this.#number++;
    for (let restored = false; ; restored = true) {
      const reply = await this.#try(message, { inflightNumber: this.#number, restored }, killer);
      if (reply !== undefined) return reply;
      await this.#next();
    }
  }

  async end(): Promise<void> {
    await this.#client?.server.close();
    rmSync(this.#base, { recursive: true, force: true });
  }

  /** Undefined where the server was killed before it answered. */
  async #try(message: Uint8Array, origin: RequestOrigin, killer: Killer): Promise<Reply | undefined> {
    const store = Atomics.store.bind(Atomics);
    const commit = (words: Int32Array, at: number, value: number): number => {
      // What a killed server does by then, to end its request, leaves no trace.
      if (this.#left !== undefined) return value;
      // Of a journal that is not committed yet, nobody finds anything.
      if (words.buffer !== this.#store.journal?.buffer) return store(words, at, value);
      const isIntent = (value & 0xff) === RecordKind.INTENT;
      this.#step('before', isIntent, killer, () => this.#garble(words, at, value >>> 8));
      if (this.#left === undefined) store(words, at, value);
      if (this.#left === undefined) this.#step('after', isIntent, killer);
      return value;
    };
    const spy = vi.spyOn(Atomics, 'store').mockImplementation(commit as typeof Atomics.store);
    try {
      const reply = await this.#client?.send(message, { origin });
      return this.#left === undefined && reply !== undefined ? new Reply(reply) : undefined;
    } finally {
      spy.mockRestore();
    }
  }

  #step(step: Step, isIntent: boolean, killer: Killer, spoil?: () => void): void {
    if (!killer(step)) return;
    spoil?.();
    this.#left = this.#store.left();
    // What was about to be done is not done. After it, there is nothing left to do but to answer.
    if (isIntent) throw new Error('killed');
  }

  /** The kill came before all of the record was written. */
  #garble(words: Int32Array, at: number, length: number): void {
    for (let i = at + 1; i < at + length; i++) if (this.#random(2) === 0) words[i] = this.#random(2 ** 31);
  }

  async #next(): Promise<void> {
    this.kills++;
    const left = this.#left ?? new MemoryStore();
    // Its descriptors, and with them its locks, go with its process.
    await this.#client?.server.close();
    this.#left = undefined;
    this.#store = left;
    await this.begin();
  }
}
