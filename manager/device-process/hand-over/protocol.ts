/**
 * What two device processes say to each other when one takes over from the other. The old one offers what it serves and is at work all the
 * while the new one makes the same of it; then it stands still, says where it is, and waits; and once the new one has all of it, lets it go.
 *
 *     old                                  new
 *     OFFER ──────────────────────────────►  opens, maps
 *     ◄────────────────────────────── READY  (or REFUSAL, and the old one has noticed nothing)
 *     stands still
 *     STATE ──────────────────────────────►  restores
 *     ◄─────────────────────────── RESTORED  (or REFUSAL, and the old one goes on)
 *     GO ─────────────────────────────────►  serves from now on
 *     ◄────────────────────────────── BEGUN
 *     ends
 *
 * Exactly one of them serves, whichever dies when. Until GO is out the old one may say ABORT in place of it, and goes on. The new one says BEGUN
 * before it touches anything: so while the old one has not heard that, and the new one is gone, the old one may go on. And where the old
 * one is gone without ABORT when the new one has its whole STATE, it died while it stood still, and the new one goes on as after GO: it
 * never closes its end before it has said one of the two.
 */
import { Type, type Static } from '@sinclair/typebox';
import { FunctionSpec } from '../protocol.js';

/**
 * What is said, and what it means: another field, another meaning, another version. A process takes over from those of its own version and of
 * the ones that it lists here; it says so when it refuses, and then the old one goes on.
 *
 * 1: as above.
 * 2: disks on NBD servers, and what mounts have in memory, too.
 */
export const HAND_OVER_VERSION = 2;
export const VERSIONS_TAKEN: readonly number[] = [1, HAND_OVER_VERSION];

export const HandOverMessage = {
  OFFER: 1,
  READY: 2,
  REFUSAL: 3,
  STATE: 4,
  RESTORED: 5,
  GO: 6,
  BEGUN: 7,
  ABORT: 8,
} as const;
export type HandOverMessage = (typeof HandOverMessage)[keyof typeof HandOverMessage];

/** Of any version: read before anything else. */
export const AnyOffer = Type.Object({ version: Type.Integer() });

export const Offer = Type.Object({
  version: Type.Integer(),
  /** What each device is made of, beside its spec, is the device's to say. */
  functions: Type.Array(Type.Object({ spec: FunctionSpec, offer: Type.Unknown() })),
});
export type Offer = Static<typeof Offer>;

export const FunctionState = Type.Object({ device: Type.Unknown(), port: Type.Unknown() });
export type FunctionState = Static<typeof FunctionState>;

/** In the order of the offer. */
export const State = Type.Object({ functions: Type.Array(FunctionState) });
export type State = Static<typeof State>;

export const Refusal = Type.Object({ reason: Type.String() });
export type Refusal = Static<typeof Refusal>;
