/**
 * A file system under a policy that can be changed while guests use it: what they see, what they may change, how much they may add, and
 * who is told. Works over any file system.
 */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import type { GivenDescriptors, StateDestination } from '../../../state-descriptors.js';
import { StateReader } from '../../../state-reader.js';
import { StateWriter } from '../../../state-writer.js';
import {
  mapAnswer,
  type ByteString,
  type FileSystem,
  type FsNode,
  type MaybePromise,
} from '../file-system.js';
import { restoreStateOf, stateOf } from '../kept.js';
import type { AuditListener } from './audit.js';
import { Verdict, type Policy } from './policy.js';
import { PolicyContext } from './policy-context.js';
import { PolicyNode } from './policy-node.js';

export type { AuditEvent, AuditListener } from './audit.js';
export { PatternError } from './patterns.js';
export type { Policy } from './policy.js';

const POLICY_FIELDS = { isRevoked: 1, files: 8, blocks: 8 } as const;

export class PolicyFs implements FileSystem {
  readonly #inner: FileSystem;
  readonly #context: PolicyContext;
  #root: PolicyNode | undefined;

  /**
   * Takes over `inner`, and closes it when it is closed.
   * @throws PatternError
   */
  constructor(inner: FileSystem, policy: Policy = {}, listener?: AuditListener) {
    this.#inner = inner;
    this.#context = new PolicyContext(policy, listener);
  }

  /**
   * Puts another policy in the place of the one there is, for all that is asked from now on, through open files too. What is under
   * way ends under the old one.
   * @throws PatternError, and the old policy stays
   */
  setPolicy(policy: Policy): void {
    this.#context.setPolicy(policy);
  }

  /** Takes the mount from guests for good: from now on all is ESTALE, and waits for locks end. */
  revoke(): void {
    this.#context.revoke();
  }

  /** Whether guests may hear of the file with these names from the root, joined by '/'. */
  shows(path: ByteString): boolean {
    return !this.#context.isRevoked && this.#context.rules.judge(`/${path}`) !== Verdict.denied;
  }

  attach(): MaybePromise<PolicyNode | Failure> {
    if (this.#context.isRevoked) return this.#context.decided('attach', '', -Errno.ESTALE);
    return mapAnswer(this.#inner.attach(), (inner) => this.#rootFor(inner));
  }

  #rootFor(inner: FsNode | Failure): PolicyNode | Failure {
    if (isFailure(inner)) return inner;
    if (this.#root?.inner === inner) inner.release();
    else {
      this.#root?.release();
      this.#root = new PolicyNode(this.#context, null, '', inner);
    }
    this.#root.retain();
    return this.#root;
  }

  /** What the guest has added, and whether the mount was taken from it. The policy itself is the operator's to give again. */
  saveState(to: StateDestination): Uint8Array | string {
    const inner = stateOf(this.#inner, to);
    if (typeof inner === 'string') return inner;
    const { isRevoked, quota } = this.#context;
    const writer = new StateWriter();
    writer.record(POLICY_FIELDS, { isRevoked: isRevoked ? 1 : 0, ...quota.used });
    writer.blob(inner);
    return writer.bytes;
  }

  async restoreState(bytes: Uint8Array, descriptors?: GivenDescriptors): Promise<string | undefined> {
    const reader = new StateReader(bytes);
    const { isRevoked, ...used } = reader.record(POLICY_FIELDS);
    const inner = reader.blob();
    if (reader.overrun || reader.leftBytes > 0) return 'the state of a policy has another length';
    const problem = await restoreStateOf(this.#inner, inner, descriptors);
    if (problem !== undefined) return problem;
    this.#context.quota.resume(used);
    if (isRevoked !== 0) this.revoke();
    return undefined;
  }

  async close(): Promise<void> {
    this.#root?.release();
    this.#root = undefined;
    this.#context.audit?.flush();
    await this.#inner.close();
  }
}
