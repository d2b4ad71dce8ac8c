/**
 * What a process tells of a connection that is to outlive it, whichever port it is of: parts with names, each of which is told again when it has
 * changed. Of what is in them, the port knows. Numbers `fd` are those of a part's own descriptors.
 */
import { Type, type Static } from '@sinclair/typebox';
import { IncomingParcel, OutgoingParcel } from '../../device-process/hand-over/parcel.js';

const Numbered = Type.Integer({ minimum: 0 });

/** The connected socket, and the pipe that replies go through: a part that every connection has. */
export const KeptSocketPart = Type.Object({ fd: Numbered, readFd: Numbered, writeFd: Numbered });
export type KeptSocketPart = Static<typeof KeptSocketPart>;
export const SOCKET_PART = 'socket';

/** A part as it is told: its descriptors stay their owner's. */
export interface ToldPart {
  readonly name: string;
  readonly data: unknown;
  readonly fds: readonly number[];
}

/** Parts of one connection that were kept for this process. */
export type KeptParts = ReadonlyMap<string, { readonly data: unknown; readonly parcel: IncomingParcel }>;

/** A connection of a process that was killed, as it was kept. */
export interface KeptConnection {
  /** Of the last chunk that was told of. */
  readonly number: number;
  readonly parts: KeptParts;
}

/** What is to outlive a process beside its port: parts with names of their own. */
export interface KeptExtras {
  /** All there are now. */
  parts(): readonly ToldPart[];
  /** Takes those that were kept for this process, before its device goes on. */
  take(parts: KeptParts): void;
}

/** What a process tells of a connection. */
export interface Told {
  /** Of the last chunk that is done; undefined where this is about something else. */
  readonly number: number | undefined;
  /** All parts are here, and what was told before of this function is void. */
  readonly begins: boolean;
  readonly parts: readonly ToldPart[];
}

/** Whoever holds connections for the next process, as one function's port sees it. */
export interface ConnectionKeeper {
  /** Somebody is there to be told. */
  readonly isThere: boolean;
  /** Resolves to true once what is told outlives this process; false where nobody will have heard of it. */
  tell(told: Told): Promise<boolean>;
  /** The connection is no more. Resolves once that is told, or nobody is there. */
  ended(): Promise<void>;
}

export function part(name: string, save: (parcel: OutgoingParcel) => unknown): ToldPart {
  const parcel = new OutgoingParcel();
  return { name, data: save(parcel), fds: parcel.fds };
}

const NOTHING = { data: undefined, parcel: new IncomingParcel([], []) };

/** What is missing is no part. */
export function takePart(parts: KeptParts, name: string): { data: unknown; parcel: IncomingParcel } {
  return parts.get(name) ?? NOTHING;
}
