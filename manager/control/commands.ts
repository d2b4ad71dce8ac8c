/** What of commands in a guest crosses the API. Bytes are base64. */
import { Type, type Static } from '@sinclair/typebox';

/** What one request or answer may carry of a stream, before it is base64. */
export const PIECE_MAX_BYTES = 128 * 1024;
const PIECE_MAX_CHARACTERS = Math.ceil(PIECE_MAX_BYTES / 3) * 4;

const Bytes = Type.String({ maxLength: PIECE_MAX_CHARACTERS, description: 'base64 of 128 KiB at most' });

export const Signal = Type.Union(
  (['HUP', 'INT', 'QUIT', 'KILL', 'USR1', 'USR2', 'TERM'] as const).map((name) => Type.Literal(name)),
);
export type Signal = 'HUP' | 'INT' | 'QUIT' | 'KILL' | 'USR1' | 'USR2' | 'TERM';

export const ExecRequest = Type.Object(
  {
    /** The program and its arguments. */
    command: Type.Array(Type.String({ maxLength: 120_000 }), { minItems: 1, maxItems: 4096 }),
    /** Added to the environment of the guest's helper. */
    env: Type.Record(Type.String(), Type.String(), { default: {} }),
    /** `/` without it. */
    cwd: Type.Optional(Type.String({ minLength: 1, maxLength: 4095 })),
    /** A user's name in the guest; root without it. */
    user: Type.Optional(Type.String({ maxLength: 64 })),
  },
  { additionalProperties: false },
);
export type ExecRequest = Static<typeof ExecRequest>;

/** A line of the answer: first `command` alone, then what is printed, an empty one now and then, and `exitCode` with the last. */
export const ExecPage = Type.Object({
  /** The command's number, for its input and signals. */
  command: Type.Optional(Type.Integer({ minimum: 1 })),
  stdout: Type.Optional(Type.String()),
  stderr: Type.Optional(Type.String()),
  /** As a shell has it: 128 and a signal's number where one ended it. */
  exitCode: Type.Optional(Type.Integer({ minimum: 0, maximum: 255 })),
});
export type ExecPage = Static<typeof ExecPage>;

export const ExecInput = Type.Object(
  {
    data: Type.Optional(Bytes),
    /** No more comes. */
    end: Type.Boolean({ default: false }),
  },
  { additionalProperties: false },
);
export type ExecInput = Static<typeof ExecInput>;

export const ExecSignal = Type.Object({ signal: Signal }, { additionalProperties: false });
