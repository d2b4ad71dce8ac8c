/** What of a device with a mount on each queue is to outlive the process: the queues' sessions, and what its config space says. */
import type { LogMethod } from '../../logging/log.js';
import type { KeptParts, ToldPart } from '../../ports/keeping/told.js';
import { Allowance } from './allowance.js';
import type { Held } from './held.js';
import { HeldSession, MAX_FILES } from './held-session.js';
import { JournalMemory, journalPages } from './journal-memory.js';

const REGISTERS = 'registers';
/** For all queues together: a session takes half a MiB, and some more where it has thousands of fids. What has no room is lost with the process. */
const MAX_JOURNAL_BYTES = 256 << 20;

export class HeldQueues implements Held {
  /** Of the device. */
  readonly registers: JournalMemory;
  readonly #log: LogMethod;
  readonly #files = new Allowance(MAX_FILES);
  readonly #pages = journalPages(MAX_JOURNAL_BYTES);
  readonly #sessions = new Map<number, HeldSession>();
  /** The device goes on with what was kept, which is here. */
  onTaken: () => void = () => undefined;
  tell: (part: ToldPart) => Promise<void> = () => Promise.resolve();

  /** @throws HostError where there is no memory for it */
  constructor(log: LogMethod) {
    this.#log = log;
    this.registers = new JournalMemory(undefined, log, this.#pages);
  }

  /** A mount comes to a queue. Resolves once its session outlives this process. @throws HostError where there is no memory for it */
  async begin(queue: number): Promise<HeldSession> {
    const among = { prefix: `queue ${queue} `, files: this.#files, pages: this.#pages };
    const session = new HeldSession(this.#log, among);
    session.tell = (part) => this.tell(part);
    this.#sessions.set(queue, session);
    await session.begin();
    return session;
  }

  /** The mount of a queue is closed, or did not come. */
  async end(queue: number): Promise<void> {
    const session = this.#sessions.get(queue);
    this.#sessions.delete(queue);
    await session?.end();
  }

  parts(): ToldPart[] {
    const sessions = [...this.#sessions.values()];
    const registers = { name: REGISTERS, data: {}, fds: [this.registers.fd] };
    return [registers, ...sessions.flatMap((session) => session.parts())];
  }

  /** Those of queues that have no mount any more are let go. */
  take(parts: KeptParts): void {
    const registers = parts.get(REGISTERS)?.parcel.takeFdIfThere(0) ?? -1;
    if (registers >= 0) this.registers.adopt(registers);
    for (const session of this.#sessions.values()) session.take(parts);
    this.onTaken();
  }

  close(): void {
    for (const session of this.#sessions.values()) session.close();
    this.#sessions.clear();
    this.registers.close();
  }
}
