/** What a journal has of which requests of 9P2000.L. Of all others it has nothing: carried out again, they do what they did. */
import { MessageType } from '../../protocol/constants.js';

export const JournalUse = {
  none: 0,
  /** It changes fids and locks, in memory alone: what became of it is told once it is done, with its reply. */
  effect: 1,
  /** It changes files: that it is about to is told before. */
  intent: 2,
  /** A fid goes: an effect, but where it commits an extended attribute. */
  clunk: 3,
  /** It writes: told where it appends, or writes the value of an extended attribute. */
  write: 4,
  version: 5,
  /** It is answered with what another server did. */
  again: 6,
  /** It was carried out by another server, but for the reply. */
  done: 7,
} as const;
export type JournalUse = (typeof JournalUse)[keyof typeof JournalUse];

const { none, effect, intent, clunk, write, version } = JournalUse;

const USES: Partial<Record<number, JournalUse>> = {
  [MessageType.Tversion]: version,
  [MessageType.Tattach]: effect,
  [MessageType.Twalk]: effect,
  [MessageType.Tlopen]: effect,
  [MessageType.Txattrwalk]: effect,
  [MessageType.Txattrcreate]: effect,
  [MessageType.Tlock]: effect,
  [MessageType.Tclunk]: clunk,
  [MessageType.Twrite]: write,
  [MessageType.Tlcreate]: intent,
  [MessageType.Tsymlink]: intent,
  [MessageType.Tmknod]: intent,
  [MessageType.Tmkdir]: intent,
  [MessageType.Tlink]: intent,
  [MessageType.Tunlinkat]: intent,
  [MessageType.Trename]: intent,
  [MessageType.Trenameat]: intent,
  [MessageType.Tremove]: intent,
};

const TYPES = 256;

/** By message type. */
export const JOURNAL_USE: readonly JournalUse[] = Array.from(
  { length: TYPES },
  (_, type) => USES[type] ?? none,
);

/** Requests after which a file may have another name, or none. */
export function movesFiles(type: number): boolean {
  return (
    type === MessageType.Tunlinkat ||
    type === MessageType.Trenameat ||
    type === MessageType.Trename ||
    type === MessageType.Tremove
  );
}

/** Requests that make their fid one of a file that they name. */
export function namesFid(type: number): boolean {
  return type === MessageType.Tattach || type === MessageType.Twalk || type === MessageType.Tlcreate;
}
