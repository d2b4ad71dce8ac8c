import { inspect } from 'node:util';
import { ChassisError } from '../control/api.js';
import { plainText } from './plain-text.js';

/** An error, in a record. */
export interface ErrorFields {
  /** The `ErrorCode` of a ChassisError, or Node's of a system call (`ENOENT`). */
  readonly code?: string;
  readonly err: {
    readonly type: string;
    readonly message: string;
    /** What the operator can do. */
    readonly suggestion?: string;
    /** Where it was thrown, unless it is one that operators are to expect. Lines, of which none is empty. */
    readonly stack?: string;
  };
}

const MESSAGE_MAX = 2000;
const STACK_LINES_MAX = 20;
const STACK_LINE_MAX = 300;

export function errorFields(error: unknown): ErrorFields {
  if (!(error instanceof Error)) {
    const message = typeof error === 'string' ? error : inspect(error, { depth: 0 });
    return { err: { type: typeof error, message: plainText(message, MESSAGE_MAX) } };
  }
  const isExpected = error instanceof ChassisError;
  const { suggestion } = isExpected ? error : {};
  return {
    ...('code' in error && typeof error.code === 'string' && { code: plainText(error.code, 64) }),
    err: {
      type: plainText(error.name, 64),
      message: plainText(error.message, MESSAGE_MAX),
      ...(suggestion !== undefined && { suggestion: plainText(suggestion, MESSAGE_MAX) }),
      ...(!isExpected && { stack: stackOf(error) }),
    },
  };
}

/** Its message is not repeated: nothing in it can be taken for one of the lines. */
function stackOf({ stack = '', name, message }: Error): string {
  const head = `${name}: ${message}`;
  const frames = stack.startsWith(head) ? stack.slice(head.length) : stack.slice(stack.search(/^ {4}at /m));
  return frames
    .split('\n')
    .map((line) => plainText(line.trim(), STACK_LINE_MAX))
    .filter((line) => line !== '')
    .slice(0, STACK_LINES_MAX)
    .join('\n');
}
