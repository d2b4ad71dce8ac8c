/**
 * What another process needs to go on for one that was killed, with a front-end that notices nothing: in parts, each of which is told again when it
 * has changed. Where rings stand is not in it: that is in memory, and in the in-flight area. Numbers `fd` are those of a part's own descriptors.
 */
import { Type, type Static } from '@sinclair/typebox';
import type { KeptParts } from './kept-back-end.js';
import { BackEndState, ConnectionState, VringState } from './port-state.js';

const HEXADECIMAL = '^([0-9a-f]{2})*$';
const Numbered = Type.Integer({ minimum: 0 });

export const KeptSession = Type.Omit(BackEndState, ['memory', 'vrings', 'works', 'device']);
export type KeptSession = Static<typeof KeptSession>;
export const KeptMemory = Type.Pick(BackEndState, ['memory']);
export type KeptMemory = Static<typeof KeptMemory>;
export const KeptVring = Type.Omit(VringState, ['ring']);
export type KeptVring = Static<typeof KeptVring>;
/** The connected socket, and the pipe that replies go through. */
export const KeptSocket = Type.Object({ fd: Numbered, readFd: Numbered, writeFd: Numbered });
export type KeptSocket = Static<typeof KeptSocket>;
/** Of a message that has not come whole; in hexadecimal digits. */
export const KeptReading = Type.Object({
  ...Type.Pick(ConnectionState, ['announced', 'receivedFds']).properties,
  received: Type.String({ pattern: HEXADECIMAL }),
});
export type KeptReading = Static<typeof KeptReading>;

/** Of the device. */
export const KeptDevice = Type.Object({
  /** A driver is at work, whether its rings run or not. */
  works: Type.Boolean(),
  /** What the device says of itself, in hexadecimal digits; null where that is kept in another way, or is nothing. */
  state: Type.Union([Type.String({ pattern: HEXADECIMAL }), Type.Null()]),
});
export type KeptDevice = Static<typeof KeptDevice>;

/** Names of parts; a ring's has its number behind it. */
export const KeptPart = {
  SESSION: 'session',
  MEMORY: 'memory',
  VRING: 'vring ',
  SOCKET: 'socket',
  READING: 'reading',
  DEVICE: 'device',
};

/** A part as it is told: its descriptors stay their owner's. */
export interface ToldPart {
  readonly name: string;
  readonly data: unknown;
  readonly fds: readonly number[];
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
