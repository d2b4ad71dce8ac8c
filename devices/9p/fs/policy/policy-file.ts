/** Open files and directories of a mount under a policy. Reads and writes ask it by comparing a number, and make nothing. */
import { Errno, isFailure } from '../../../errno.js';
import { IoVector } from '../../../io-vector.js';
import type { GivenDescriptor } from '../../../state-descriptors.js';
import type { FileAccount } from '../file-account.js';
import {
  FileMode,
  mapAnswer,
  OpenFile,
  OpenFlag,
  SetAttr,
  type AttributeChanges,
  type Attributes,
  type DirectorySink,
  type HeldLock,
  type Interruptible,
  type Lock,
  type MaybePromise,
} from '../file-system.js';
import type { Kept } from '../kept.js';
import { accountOf, sizeOf } from './counting.js';
import { Verdict } from './policy.js';
import type { PolicyNode } from './policy-node.js';

const DT_UNKNOWN = 0;
const DT_DIR = FileMode.S_IFDIR >> 12;

export class PolicyFile extends OpenFile {
  readonly #node: PolicyNode;
  readonly #inner: OpenFile;
  readonly #flags: number;
  #account: FileAccount | undefined;

  /** Takes over `inner`, `account`, and a place among the open files. */
  constructor(node: PolicyNode, inner: OpenFile, flags: number, account: FileAccount | undefined) {
    super();
    this.#node = node;
    this.#inner = inner;
    this.#flags = flags;
    this.#account = account;
    node.retain();
  }

  override read(offset: number, into: IoVector): MaybePromise<number> {
    const refused = this.#node.mayLook('read');
    return refused < 0 ? refused : this.#inner.read(offset, into);
  }

  override write(offset: number, from: IoVector): MaybePromise<number> {
    const refused = this.#node.mayChange('write');
    if (refused < 0) return refused;
    return this.#node.context.limitsBytes
      ? this.#writeCounted(offset, from)
      : this.#inner.write(offset, from);
  }

  async #writeCounted(offset: number, from: IoVector): Promise<number> {
    if (!Number.isSafeInteger(offset + from.byteLength)) return -Errno.EFBIG;
    const account = await this.#accountNow();
    if (account === undefined) return this.#inner.write(offset, from);
    const at = (this.#flags & OpenFlag.O_APPEND) === 0 ? offset : 'end';
    const write = async (lengthBytes: number): Promise<number> =>
      this.#inner.write(
        offset,
        lengthBytes === from.byteLength ? from : from.slice(0, lengthBytes, new IoVector()),
      );
    return account.write(at, from.byteLength, () => sizeOf(this.#inner), write);
  }

  /** A file may have been opened before there was a limit. */
  async #accountNow(): Promise<FileAccount | undefined> {
    if (this.#account !== undefined) return this.#account;
    const account = await accountOf(this.#node.context, this.#inner);
    if (account === undefined || isFailure(account)) return undefined;
    // Another write may have got it meanwhile.
    if (this.#account === undefined) this.#account = account;
    else account.release();
    return this.#account;
  }

  /** Leaves out what the policy does not show. */
  override readdir(cookie: number, sink: DirectorySink): MaybePromise<number> {
    const refused = this.#node.mayLook('readdir');
    if (refused < 0) return refused;
    const { rules } = this.#node.context;
    if (!rules.hasPatterns) return this.#inner.readdir(cookie, sink);
    const path = this.#node.path();
    return this.#inner.readdir(cookie, {
      entry: (name, inodeLow, inodeHigh, type, next) => {
        const verdict = name === '.' || name === '..' ? Verdict.allowed : rules.judge(`${path}/${name}`);
        const mayLead = verdict === Verdict.passage && (type === DT_DIR || type === DT_UNKNOWN);
        if (verdict !== Verdict.allowed && !mayLead) return true;
        return sink.entry(name, inodeLow, inodeHigh, type, next);
      },
    });
  }

  override getattr(out: Attributes): MaybePromise<number> {
    const refused = this.#node.mayLook('getattr');
    return refused < 0 ? refused : this.#inner.getattr(out);
  }

  override setattr(changes: AttributeChanges): MaybePromise<number> {
    const refused = this.#node.mayChange('setattr');
    if (refused < 0) return refused;
    const cuts = (changes.valid & SetAttr.P9_ATTR_SIZE) !== 0 && changes.sizeBytes >= 0;
    return cuts && this.#node.context.limitsBytes ? this.#cut(changes) : this.#inner.setattr(changes);
  }

  async #cut(changes: AttributeChanges): Promise<number> {
    const account = await this.#accountNow();
    const change = async (): Promise<number> => this.#inner.setattr(changes);
    return account === undefined
      ? change()
      : account.resize(changes.sizeBytes, () => sizeOf(this.#inner), change);
  }

  override fsync(dataOnly: boolean): MaybePromise<number> {
    const refused = this.#node.mayLook('fsync');
    return refused < 0 ? refused : this.#inner.fsync(dataOnly);
  }

  override lock(lock: Lock): MaybePromise<number> {
    const { context } = this.#node;
    const refused = this.#node.mayLook('lock');
    if (refused < 0) return refused;
    lock.readOnly = lock.readOnly === true || context.rules.readOnly;
    const answer = this.#inner.lock(lock);
    if (typeof answer === 'number') return answer;
    context.waiting.set(lock, this.#inner);
    return answer.finally(() => {
      context.waiting.delete(lock);
    });
  }

  override locks(): readonly HeldLock[] | undefined {
    return this.#inner.locks();
  }

  /** What is held is no new request. */
  override relock(lock: Lock, descriptor: GivenDescriptor | undefined): MaybePromise<number> {
    return this.#inner.relock(lock, descriptor);
  }

  override keep(): Kept {
    return this.#inner.keep();
  }

  override getlock(lock: Lock): MaybePromise<number> {
    const refused = this.#node.mayLook('getlock');
    return refused < 0 ? refused : this.#inner.getlock(lock);
  }

  override interrupt(operation: Interruptible): void {
    this.#inner.interrupt(operation);
  }

  override close(): MaybePromise<void> {
    this.#node.context.openFiles--;
    return mapAnswer(this.#inner.close(), () => {
      this.#account?.release();
      this.#node.release();
    });
  }
}
