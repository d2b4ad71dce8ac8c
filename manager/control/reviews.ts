/** Reviewing what guests changed in overlays, as it crosses the API. */
import { Type, type Static } from '@sinclair/typebox';
import { Upper } from './mount-terms.js';

const STRICT = { additionalProperties: false };

/** Lists changes, brings them to the source, or drops them. */
export const ReviewRequest = Type.Object(
  {
    kind: Type.Union([Type.Literal('diff'), Type.Literal('commit'), Type.Literal('discard')]),
    /** Those at these paths within the mount, and below; all of them where there are none. */
    paths: Type.Array(Type.String({ minLength: 1, maxLength: 4096 }), { default: [], maxItems: 1024 }),
  },
  STRICT,
);
export type ReviewRequest = Static<typeof ReviewRequest>;

export const ChangeKind = Type.Union([
  Type.Literal('added'),
  Type.Literal('changed'),
  Type.Literal('metadata'),
  Type.Literal('removed'),
  Type.Literal('renamed'),
]);
export type ChangeKind = Static<typeof ChangeKind>;

export const Change = Type.Object({
  kind: ChangeKind,
  /** From '/' on; names that are no UTF-8 with `\xNN` in the place of bytes. */
  path: Type.String(),
  type: Type.Union([
    Type.Literal('file'),
    Type.Literal('directory'),
    Type.Literal('link'),
    /** A FIFO, a socket or a device node. */
    Type.Literal('special'),
  ]),
  /** Of what was renamed. */
  from: Type.Optional(Type.String()),
});
export type Change = Static<typeof Change>;

/**
 * What a review says as it goes on: of a diff, and before a commit or a discard, the changes that it is about; then how far it is. The
 * last page has `done`.
 */
export const ReviewPage = Type.Object({
  changes: Type.Array(Change),
  /** Entries that a commit has gone through, and where it is. */
  entries: Type.Integer(),
  path: Type.Optional(Type.String()),
  done: Type.Boolean(),
});
export type ReviewPage = Static<typeof ReviewPage>;

/** Changes that are kept though no mount shows them. */
export const KeptOverlay = Type.Object({
  tag: Type.String(),
  /** The directory that they are changes of. */
  source: Type.String(),
  upper: Upper,
});
export type KeptOverlay = Static<typeof KeptOverlay>;
