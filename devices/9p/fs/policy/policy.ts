/** What guests may do with a mount, as an operator says it. */
import { Patterns } from './patterns.js';

export interface Policy {
  /** Refuses every change with EROFS. Default: false. */
  readonly readOnly?: boolean;
  /**
   * Where given, nothing shows but what matches one of these patterns, what is below it, and the directories above it. See
   * `Patterns` for what they are.
   */
  readonly allow?: readonly string[];
  /** Nothing that matches shows, nor what is below it; no name that matches can be made. Stronger than `allow`. */
  readonly deny?: readonly string[];
  /** Bytes that the guest may add to what was there, in blocks of 4,096; ENOSPC beyond. Default: no limit. */
  readonly maxBytes?: number;
  /** Files, directories and links that the guest may add to what was there; ENOSPC beyond. Default: no limit. */
  readonly maxFiles?: number;
  /** Files and directories that the guest may have open; EMFILE beyond. Default: no limit. */
  readonly maxOpenFiles?: number;
  /** What the audit listener is told of. Default: 'denied'. */
  readonly audit?: 'none' | 'denied' | 'all';
}

/** What a policy says of a path. */
export const Verdict = {
  denied: 0,
  /** A directory above something that is allowed: to be looked at and walked through, and no more. */
  passage: 1,
  allowed: 2,
} as const;
export type Verdict = (typeof Verdict)[keyof typeof Verdict];

/** A policy, made ready. */
export class Rules {
  readonly readOnly: boolean;
  readonly hasPatterns: boolean;
  readonly maxBytes: number;
  readonly maxFiles: number;
  readonly maxOpenFiles: number;
  readonly auditsDenied: boolean;
  readonly auditsAll: boolean;
  readonly #allow: Patterns | undefined;
  readonly #deny: Patterns;

  /** @throws PatternError */
  constructor(policy: Policy) {
    this.readOnly = policy.readOnly ?? false;
    this.#allow = policy.allow === undefined ? undefined : new Patterns(policy.allow);
    this.#deny = new Patterns(policy.deny ?? []);
    this.hasPatterns = this.#allow !== undefined || !this.#deny.isEmpty;
    this.maxBytes = policy.maxBytes ?? Number.MAX_SAFE_INTEGER;
    this.maxFiles = policy.maxFiles ?? Number.MAX_SAFE_INTEGER;
    this.maxOpenFiles = policy.maxOpenFiles ?? Infinity;
    this.auditsDenied = policy.audit !== 'none';
    this.auditsAll = policy.audit === 'all';
  }

  judge(path: string): Verdict {
    if (!this.hasPatterns) return Verdict.allowed;
    if (this.#deny.covers(path)) return Verdict.denied;
    if (this.#allow === undefined || this.#allow.covers(path)) return Verdict.allowed;
    return this.#allow.leadsOn(path) || path === '' ? Verdict.passage : Verdict.denied;
  }

  /** True where a directory must stay where it is, or what is denied below it would show under another path. */
  pinsDirectory(path: string): boolean {
    return this.#deny.dependsOn(path);
  }
}
