/** What the daemon and its processes say of themselves, as records: docs/daemon.md lists their fields. */

/** By severity, the gravest first. A log takes those of its level and graver ones. */
export const LogLevel = {
  /** A bug, or what the process ends with. */
  error: 'error',
  /** Something is not as it was asked to be. */
  warn: 'warn',
  /** What an operator would ask about afterwards. */
  info: 'info',
  /** Every request, and all that `chassis events` tells. */
  debug: 'debug',
} as const;
export type LogLevel = (typeof LogLevel)[keyof typeof LogLevel];

export const LogFormat = {
  /** Lines for people. */
  text: 'text',
  /** An object in JSON a line. */
  json: 'json',
} as const;
export type LogFormat = (typeof LogFormat)[keyof typeof LogFormat];

type LogValue = string | number | boolean | undefined;

/** What a record is about. Texts are bounded, and their unprintable characters escaped, by the log. */
export type LogFields = Readonly<Record<string, LogValue | Readonly<Record<string, LogValue>>>>;

/** How another process is to log, so that its records are of the same kind. */
export interface LogSettings {
  readonly format: LogFormat;
  readonly level: LogLevel;
  /** What all its records have. */
  readonly fields: LogFields;
}

/**
 * Takes a record: a message, and with it the error that it tells of, if any. Never throws. The message is one for people, and says nothing
 * that a field says. It can be passed on as the `log` of a device, which knows no more than this of where its words go.
 */
export type LogMethod = (message: string, error?: unknown) => void;

export interface Log extends Readonly<Record<LogLevel, LogMethod>> {
  /** One whose records have these fields, too. */
  with(fields: LogFields): Log;
  readonly settings: LogSettings;
}
