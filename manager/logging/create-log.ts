/** Makes logs: pino's records, whose texts are made harmless first, as lines of JSON or for people. */
import { pino, type Logger } from 'pino';
import { ChassisError } from '../control/api.js';
import { errorFields } from './error-fields.js';
import { LogFormat, LogLevel, type Log, type LogFields, type LogMethod, type LogSettings } from './log.js';
import { plainText } from './plain-text.js';
import { textLines, type LogRecord } from './text-lines.js';

const MESSAGE_MAX = 2000;
const FIELD_MAX = 300;

export interface LogOptions extends Partial<LogSettings> {
  /** Takes a record, with the newline behind it. */
  readonly write: (text: string) => void;
  /** What lines for people begin with; the record's time without it. */
  readonly head?: string;
}

export function createLog(options: LogOptions): Log {
  const { format = LogFormat.text, level = LogLevel.info, fields = {}, write, head } = options;
  const writeText = (line: string) => write(forPeople(line, head));
  const logger = pino(
    {
      level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      // Errors are as `errorFields` has made them: pino's own serializer would have them look like others.
      serializers: { err: (err: unknown) => err },
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: format === LogFormat.json ? write : writeText },
  );
  return logOf(logger, { format, level, fields: plainFields(fields) });
}

function forPeople(line: string, head: string | undefined): string {
  const record = JSON.parse(line) as LogRecord;
  return textLines(record, head ?? `${record.time} `);
}

/** Of the records of `root`, with these fields. */
function logOf(root: Logger, settings: LogSettings): Log {
  const logger = root.child(settings.fields);
  const method =
    (level: LogLevel): LogMethod =>
    (message, error) =>
      logger[level](error === undefined ? {} : errorFields(error), plainText(message, MESSAGE_MAX));
  return {
    ...{ error: method('error'), warn: method('warn'), info: method('info'), debug: method('debug') },
    with: (fields) => logOf(root, { ...settings, fields: { ...settings.fields, ...plainFields(fields) } }),
    settings,
  };
}

function plainFields<T extends LogFields>(fields: T): T {
  const plain = Object.entries(fields).map(([name, value]) => [
    name,
    typeof value === 'object' ? plainFields(value) : plainValue(value),
  ]);
  return Object.fromEntries(plain) as T;
}

function plainValue<T>(value: T): T | string {
  return typeof value === 'string' ? plainText(value, FIELD_MAX) : value;
}

/** @throws ChassisError BAD_REQUEST where there is no such level or format */
export function logSettings(level: string, format: string): LogSettings {
  return {
    level: oneOf(LogLevel, level, '--log-level'),
    format: oneOf(LogFormat, format, '--log-format'),
    fields: {},
  };
}

function oneOf<T extends string>(all: Readonly<Record<string, T>>, text: string, flag: string): T {
  const one = Object.values(all).find((each) => each === text);
  if (one !== undefined) return one;
  throw new ChassisError('BAD_REQUEST', `${flag} is ${Object.values(all).join(', ')}, not ${text}`);
}
