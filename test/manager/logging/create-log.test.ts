import { describe, expect, it } from 'vitest';
import { ChassisError } from '../../../manager/control/api.js';
import { createLog, logSettings, type LogOptions } from '../../../manager/logging/create-log.js';
import type { Log } from '../../../manager/logging/log.js';

function written(options: Omit<LogOptions, 'write'>, say: (log: Log) => void): string {
  let text = '';
  say(createLog({ ...options, write: (more) => (text += more) }));
  return text;
}

const inText = (say: (log: Log) => void) => written({ head: 'chassis: ' }, say);

function inJson(say: (log: Log) => void): Record<string, unknown>[] {
  const text = written({ format: 'json', level: 'debug' }, say);
  expect(text.endsWith('\n')).toBe(true);
  return text
    .slice(0, -1)
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** What a guest might say: a line's end and another record, and what a terminal obeys. */
const FORGED = [
  'x\nchassis: dev: all is well',
  'x\r\nchassis: dev: all is well',
  'x\u2028chassis: dev: all is well',
  '\u001b[2J\u001b]0;title\u0007\u009b31m',
  '\u202egnorw\u2066\u200f',
  'x"}\n{"level":"info","msg":"all is well"}',
  '\ud800',
];

describe('a log in text', () => {
  it('has what a record is about before its message, and the error behind it, with what can be done in a line of its own', () => {
    const error = new ChassisError('NO_MOUNT', 'there is no mount src', 'see `chassis list`');
    const text = inText((log) => log.with({ chassis: 'dev', tag: 'src' }).warn('not attached', error));
    expect(text).toBe(
      'chassis: dev: src: not attached: there is no mount src\nchassis: see `chassis list`\n',
    );
  });

  it('has the stack of a bug in lines that are indented, and of nothing else', () => {
    expect(inText((log) => log.error('a bug', new Error('why')))).toMatch(
      /^chassis: a bug: why\n( {4}at .*\n)+$/,
    );
    expect(inText((log) => log.warn('it goes on', new Error('why')))).toBe('chassis: it goes on: why\n');
  });

  it('begins with the time where nothing else is to', () => {
    expect(written({}, (log) => log.info('begins'))).toMatch(
      /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z begins\n$/,
    );
  });

  it.each(FORGED)('is one line with nothing unprintable in it, whatever a record says: %j', (words) => {
    const records = [
      inText((log) => log.warn(words)),
      inText((log) => log.warn('said', new Error(words))),
      inText((log) => log.with({ tag: words }).warn('said')),
      inText((log) => log.with({ event: { reason: words } }).info('said')),
    ];
    for (const text of records) expect(text).toMatch(/^chassis: [^\p{C}\p{Zl}\p{Zp}]*\n$/u);
  });

  it.each(FORGED)('has no line that begins like another’s in the stack of an error that says %j', (words) => {
    const lines = inText((log) => log.error('a bug', new Error(words)))
      .trimEnd()
      .split('\n');
    expect(lines.slice(1).filter((line) => !/^ {4}at [^\p{C}\p{Zl}\p{Zp}]*$/u.test(line))).toEqual([]);
  });
});

describe('a log in JSON', () => {
  it('has a record a line, with level, time, process and fields', () => {
    const [record] = inJson((log) =>
      log.with({ chassis: 'dev', slot: 3 }).with({ tag: 'src' }).info('attached'),
    );
    expect(record).toEqual({
      ...{ level: 'info', time: expect.stringMatching(/^\d{4}-.*Z$/) as string, pid: process.pid },
      ...{ chassis: 'dev', slot: 3, tag: 'src', msg: 'attached' },
    });
  });

  it('has an error with its code, and with its stack where nobody expected it', () => {
    const missing = Object.assign(new Error('no such file'), { code: 'ENOENT' });
    const [known, unknown, text] = inJson((log) => {
      log.warn('not attached', new ChassisError('NO_MOUNT', 'there is none', 'make one'));
      log.warn('not attached', missing);
      log.warn('not attached', 'no reason');
    });
    expect(known).toMatchObject({
      code: 'NO_MOUNT',
      err: { message: 'there is none', suggestion: 'make one' },
    });
    expect(known.err).not.toHaveProperty('stack');
    expect(unknown).toMatchObject({
      code: 'ENOENT',
      err: { type: 'Error', stack: expect.stringMatching(/^at /) as string },
    });
    expect(text.err).toEqual({ type: 'string', message: 'no reason' });
  });

  it('has a field once, with what was said of it last', () => {
    const text = written({ format: 'json' }, (log) => log.with({ tag: 'a' }).with({ tag: 'b' }).info('x'));
    expect(text.match(/"tag"/g)).toHaveLength(1);
    expect(JSON.parse(text)).toMatchObject({ tag: 'b' });
  });

  it.each(FORGED)(
    'is parsed line by line whatever a record says, and says it without what is unprintable: %j',
    (words) => {
      const records = inJson((log) => {
        log.warn(words);
        log.with({ tag: words }).error('said', new Error(words));
        log.with({ event: { reason: words } }).info('said');
      });
      expect(records).toHaveLength(3);
      expect(records.map(({ level }) => level)).toEqual(['warn', 'error', 'info']);
      const { err, tag } = records[1] as { err: { message: string }; tag: string };
      for (const said of [records[0].msg, tag, err.message]) expect(said).not.toMatch(/[\p{C}\p{Zl}\p{Zp}]/u);
    },
  );
});

describe('a log', () => {
  it.each([
    ['error', ['error']],
    ['warn', ['warn', 'error']],
    ['info', ['info', 'warn', 'error']],
    ['debug', ['debug', 'info', 'warn', 'error']],
  ] as const)('of level %s takes %j', (level, taken) => {
    const text = written({ format: 'json', level }, (log) => {
      for (const each of ['debug', 'info', 'warn', 'error'] as const) log[each]('x');
    });
    const levels = text
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { level: string }).level);
    expect(levels).toEqual(taken);
  });

  it('bounds what a record says, and tells how much it left out', () => {
    const flood = 'a'.repeat(1_000_000);
    const text = written({ format: 'json' }, (log) =>
      log.with({ tag: flood, event: { reason: flood } }).error(flood, new Error(flood)),
    );
    expect(text.length).toBeLessThan(16_384);
    expect((JSON.parse(text) as { msg: string }).msg).toMatch(/^a{2000}… \(998000 more characters\)$/);
  });

  it('takes what cannot be made a text of', () => {
    const odd = [
      Object.create(null),
      { toString: () => assertNever() },
      Symbol('s'),
      null,
      new Proxy({}, {}),
      () => 1,
    ];
    expect(inJson((log) => odd.forEach((each) => log.warn('odd', each)))).toHaveLength(odd.length);
    const unreadable = Object.assign(new Error('x'), { stack: undefined, code: 7 });
    expect(inJson((log) => log.error('odd', unreadable))[0]).not.toHaveProperty('code');
  });

  it('has settings by which another process makes one whose records have the same fields', () => {
    const { settings } = createLog({ format: 'json', level: 'warn', write: () => undefined }).with({
      chassis: 'dev',
    });
    expect(JSON.parse(JSON.stringify(settings))).toEqual({
      format: 'json',
      level: 'warn',
      fields: { chassis: 'dev' },
    });
    expect(JSON.parse(written(settings, (log) => log.warn('x')))).toMatchObject({ chassis: 'dev', msg: 'x' });
  });

  it('is asked for by names that there are', () => {
    expect(logSettings('debug', 'json')).toEqual({ level: 'debug', format: 'json', fields: {} });
    expect(() => logSettings('loud', 'json')).toThrow(/--log-level is error, warn, info, debug, not loud/);
    expect(() => logSettings('info', 'xml')).toThrow(/--log-format is text, json, not xml/);
  });
});

function assertNever(): never {
  throw new Error('nobody asked for it');
}
