/** What the nodes and files of one mount under a policy share. */
import { Errno } from '../../../errno.js';
import type { ByteString, Lock, OpenFile } from '../file-system.js';
import { PathLock } from '../path-lock.js';
import { Quota } from '../quota.js';
import { Audit, type AuditListener } from './audit.js';
import { Rules, type Policy } from './policy.js';

export class PolicyContext {
  rules: Rules;
  /** Grows whenever what was found out of a path may be wrong: a new policy, a rename, the end. */
  version = 0;
  isRevoked = false;
  openFiles = 0;
  /** What the guest has added. Its limits follow the policy's. */
  readonly quota: Quota;
  readonly audit: Audit | undefined;
  /** Locks that are waited for, and the files that do. */
  readonly waiting = new Map<Lock, OpenFile>();
  /** Exclusive for renames, which change what other names are allowed to be. */
  readonly #names = new PathLock();

  constructor(policy: Policy, listener: AuditListener | undefined) {
    this.rules = new Rules(policy);
    this.quota = new Quota(this.rules.maxBytes, this.rules.maxFiles);
    this.audit = listener === undefined ? undefined : new Audit(listener);
  }

  setPolicy(policy: Policy): void {
    this.rules = new Rules(policy);
    this.quota.setLimits(this.rules.maxBytes, this.rules.maxFiles);
    this.version++;
  }

  revoke(): void {
    this.isRevoked = true;
    this.version++;
    for (const [lock, file] of this.waiting) file.interrupt(lock);
  }

  /** Nothing depends on where a name leads, and nobody is told of what is let through. */
  get isPathless(): boolean {
    return !this.rules.hasPatterns && !this.rules.auditsAll;
  }

  get limitsBytes(): boolean {
    return this.rules.maxBytes !== Number.MAX_SAFE_INTEGER;
  }

  get limitsFiles(): boolean {
    return this.limitsBytes || this.rules.maxFiles !== Number.MAX_SAFE_INTEGER;
  }

  /** Does what depends on where a name leads; nothing is renamed meanwhile. Without patterns no name is worth the wait. */
  naming<T>(work: () => Promise<T>): Promise<T> {
    return this.rules.hasPatterns ? this.#names.shared(work) : work();
  }

  renaming<T>(work: () => Promise<T>): Promise<T> {
    return this.#names.exclusive(work);
  }

  /** True where somebody is to be told of this decision. */
  isAudited(refused: number): boolean {
    return this.audit !== undefined && (refused < 0 ? this.rules.auditsDenied : this.rules.auditsAll);
  }

  /** Tells of a decision, if anybody listens. Answers the same. */
  decided(operation: string, path: ByteString, refused: number): number {
    if (this.isAudited(refused)) this.audit?.note(operation, path, -refused);
    return refused;
  }

  takeOpenFile(): number {
    if (this.openFiles >= this.rules.maxOpenFiles) return -Errno.EMFILE;
    this.openFiles++;
    return 0;
  }
}
