/** On what terms a mount shows its source: whose files they are, what may be done to them, and where changes go. */
import { Type, type Static } from '@sinclair/typebox';
import { ManagedBy } from './managed-by.js';

const STRICT = { additionalProperties: false };

/** What the device process has room for, on any one mount. */
export const MAX_FIDS = 1 << 16;
/** Descriptors run out before, and the file systems bound those themselves. */
export const MAX_OPEN_FILES = 1 << 16;

/** A glob over the path within the mount; docs/file-systems.md has the rules. */
const Pattern = Type.String({
  minLength: 1,
  maxLength: 4096,
  description: 'a pattern of 1 to 4096 characters',
});
const Patterns = Type.Array(Pattern, { maxItems: 256 });
const Amount = Type.Integer({
  minimum: 0,
  maximum: Number.MAX_SAFE_INTEGER,
  description: 'a whole number from 0 on',
});

/** What guests may see, and how much they may have. What is absent is not restricted. */
export const Policy = Type.Object(
  {
    /** Only what matches shows, what is below it, and the directories above it. */
    allow: Type.Optional(Patterns),
    /** What matches does not show, nor what is below it. Stronger than `allow`. */
    deny: Type.Optional(Patterns),
    /** Bytes, and files of any kind, that the guest may add to what was there: ENOSPC. */
    maxBytes: Type.Optional(Amount),
    maxFiles: Type.Optional(Amount),
    /** Files and directories that the guest may know at a time, and may have open: EMFILE. */
    maxFids: Type.Optional(
      Type.Integer({ minimum: 1, maximum: MAX_FIDS, description: `a whole number from 1 to ${MAX_FIDS}` }),
    ),
    maxOpenFiles: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: MAX_OPEN_FILES,
        description: `a whole number from 0 to ${MAX_OPEN_FILES}`,
      }),
    ),
  },
  STRICT,
);
export type Policy = Static<typeof Policy>;

const Id = Type.Integer({ minimum: 0, maximum: 2 ** 32 - 2, description: 'a user or group id' });
const User = Type.Object({ uid: Id, gid: Id }, STRICT);
/** The guest's ids from `guest` on stand for the host's from `host` on. */
const IdRange = Type.Object(
  { guest: Id, host: Id, count: Type.Integer({ minimum: 1, maximum: 2 ** 32 - 1 }) },
  STRICT,
);
const IdRanges = Type.Array(IdRange, { maxItems: 340 });

/** Whose the files are to the guest. Without it: the host's owners, as they are. */
const OWNERS = [
  /** All files are `guest`'s to the guest; what it makes is `host`'s: without that, the owner's of the source. */
  Type.Object({ type: Type.Literal('squash'), guest: User, host: Type.Optional(User) }, STRICT),
  /** Other owners show as 65534. */
  Type.Object({ type: Type.Literal('ranges'), uids: IdRanges, gids: IdRanges }, STRICT),
  /** Owners, modes and special files are kept in extended attributes, and mean nothing to the host. */
  Type.Object({ type: Type.Literal('mapped') }, STRICT),
] as const;
export const Owner = Type.Union([...OWNERS], {
  description:
    '{"type": "mapped"}, or "squash" with a guest, or "ranges" with uids and gids; ids are below 2^32 - 1',
});
export type Owner = Static<typeof Owner>;

const DirectoryUpper = Type.Object(
  { type: Type.Literal('directory'), path: Type.String({ minLength: 1, maxLength: 4096 }) },
  STRICT,
);
const MemoryUpper = Type.Object({ type: Type.Literal('memory') }, STRICT);

/** Where the guest's changes are to go, in place of the source: a folder that the daemon keeps for the tag, one of yours, or memory. */
export const OverlayRequest = Type.Union([
  Type.Object({ type: Type.Literal('kept') }, STRICT),
  DirectoryUpper,
  MemoryUpper,
]);
export type OverlayRequest = Static<typeof OverlayRequest>;

/** Where they go. */
export const Upper = Type.Union([
  Type.Object({ type: Type.Literal('kept'), path: Type.String() }, STRICT),
  DirectoryUpper,
  MemoryUpper,
]);
export type Upper = Static<typeof Upper>;

/** The terms of a mount that is there. */
export const MountTerms = Type.Object({
  readOnly: Type.Boolean(),
  policy: Type.Optional(Policy),
  owner: Type.Optional(Owner),
  overlay: Type.Optional(Upper),
  /** Everything the guest asks of it is refused, for good. */
  revoked: Type.Optional(Type.Literal(true)),
  managedBy: Type.Optional(ManagedBy),
});
export type MountTerms = Static<typeof MountTerms>;

/** `readOnly` among them. */
export const POLICY_SETTINGS = ['readOnly', ...(Object.keys(Policy.properties) as (keyof Policy)[])] as const;
const PolicySetting = Type.Union(POLICY_SETTINGS.map((name) => Type.Literal(name)));

/** Changes a mount's policy as one: first `unset`, then `set`. Everything else stays. */
export const PolicyChange = Type.Object(
  {
    set: Type.Object(
      { readOnly: Type.Optional(Type.Boolean()), ...Policy.properties },
      { ...STRICT, default: {} },
    ),
    unset: Type.Array(PolicySetting, { default: [], maxItems: POLICY_SETTINGS.length }),
  },
  STRICT,
);
export type PolicyChange = Static<typeof PolicyChange>;

/** What `chassis policy` shows. */
export const PolicyView = Type.Object({
  readOnly: Type.Boolean(),
  revoked: Type.Boolean(),
  policy: Policy,
});
export type PolicyView = Static<typeof PolicyView>;

/** How long a request for what happens next may wait. */
export const MAX_WAIT_MS = 30_000;

export const AuditQuery = Type.Object(
  {
    /** Let-through operations, too, which are noted only while somebody asks for them. */
    all: Type.Boolean({ default: false }),
    /** The `next` of the last answer; without it, all that is remembered. */
    from: Type.Optional(Type.Integer({ minimum: 0 })),
    /** Where there is nothing yet, the answer may wait for it. */
    waitMs: Type.Integer({ minimum: 0, maximum: MAX_WAIT_MS, default: 0 }),
  },
  STRICT,
);
export type AuditQuery = Static<typeof AuditQuery>;

export const AuditEvent = Type.Object({
  operation: Type.String(),
  /** Within the mount; bytes other than printable ASCII as `\xNN`. */
  path: Type.String(),
  /** What it was refused with: Linux's number; 0 where it was let through. */
  errno: Type.Integer(),
  /** Milliseconds since 1970. */
  timeMs: Type.Number(),
});
export type AuditEvent = Static<typeof AuditEvent>;

export const AuditPage = Type.Object({
  events: Type.Array(AuditEvent),
  /** Events between `from` and `next` that were too many to keep. */
  dropped: Type.Integer(),
  next: Type.Integer(),
});
export type AuditPage = Static<typeof AuditPage>;
