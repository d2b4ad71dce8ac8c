/**
 * What a device process and its daemon say to each other of connections that are to outlive the process, over a socket that carries descriptors
 * (see `HandOverChannel`). The process tells; the daemon holds, and gives a connection back to the next process when that makes its function.
 */
import { Type, type Static } from '@sinclair/typebox';
import type { KeptConnection } from '../../ports/keeping/told.js';
import { dataAs } from '../hand-over/movable.js';
import { IncomingParcel, OutgoingParcel } from '../hand-over/parcel.js';

export const KeepingMessage = {
  /** Process to daemon: a Keeping, which has changed. */
  TELL: 1,
  /** Process to daemon: the function has no connection any more. */
  ENDED: 2,
  /** Daemon to process: a Keeping, of a process before this one. */
  RESUME: 3,
} as const;

const Numbered = Type.Integer({ minimum: 0 });

/** A connection, or what of it has changed. Of its parts, the port knows what they mean. Descriptors are numbers of the parcel. */
export const Keeping = Type.Object({
  function: Type.String(),
  /** Of the last chunk that is done; left out of what has nothing to do with that. */
  number: Type.Optional(Numbered),
  /** All parts are here. */
  begins: Type.Boolean(),
  parts: Type.Array(Type.Object({ name: Type.String(), data: Type.Unknown(), fds: Type.Array(Numbered) })),
});
export type Keeping = Static<typeof Keeping>;
export const Ended = Type.Object({ function: Type.String() });

export interface HeldPart {
  readonly data: unknown;
  readonly jsonBytes: number;
  readonly fds: readonly number[];
}

/** A connection that this process holds for another one: parts by name. */
export interface HeldConnection {
  number: number;
  readonly parts: Map<string, HeldPart>;
}

/** The parcel's descriptors stay whose they are. */
export function keepingOf(
  fn: string,
  number: number | undefined,
  begins: boolean,
  parts: Iterable<{ readonly name: string; readonly data: unknown; readonly fds: readonly number[] }>,
): [Keeping, OutgoingParcel] {
  const parcel = new OutgoingParcel();
  const told = Array.from(parts, ({ name, data, fds }) => ({
    ...{ name, data },
    fds: fds.map((fd) => parcel.addFd(fd)),
  }));
  return [{ function: fn, ...(number !== undefined && { number }), begins, parts: told }, parcel];
}

/** Whose descriptors are the caller's. @throws ParcelError */
export function heldOf(
  data: unknown,
  parcel: IncomingParcel,
): Pick<HeldConnection, 'parts'> & Omit<Keeping, 'parts'> {
  const { parts, ...keeping } = dataAs(Keeping, data);
  const all = parcel.takeFds(parts.flatMap(({ fds }) => fds));
  const held = parts.map(({ name, data: what, fds }): [string, HeldPart] => [
    name,
    { data: what, jsonBytes: JSON.stringify(what).length, fds: all.splice(0, fds.length) },
  ]);
  return { ...keeping, parts: new Map(held) };
}

/** As a port takes it; `close` of each parcel closes what it does not take. */
export function keptOf({ number, parts }: HeldConnection): KeptConnection {
  const given = Array.from(
    parts,
    ([name, { data, fds }]): [string, { data: unknown; parcel: IncomingParcel }] => [
      name,
      { data, parcel: new IncomingParcel([], fds) },
    ],
  );
  return { number, parts: new Map(given) };
}
